import { execFileSync } from 'node:child_process';
import { resolve } from 'node:path';

const MODULE = resolve('src/setup/processes.ts');

/** The tag of a process of this host that has lived and is gone. */
export const deadProcessTag = (): string =>
  execFileSync(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `import { processTag } from ${JSON.stringify(MODULE)}; process.stdout.write(processTag());`,
    ],
    { encoding: 'utf8' },
  );
