/** Part of the build: what tsc does not do. Files that are not TypeScript, and the workflows, bundled once into `dist/workflow-bundle.js`. */
import { copyFile, glob, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { BUNDLE_FILE } from '../src/workers/bundle.ts';
import type * as Bundle from '../src/workers/bundle.ts';

const dist = join(import.meta.dirname, '..', 'dist');
const src = join(import.meta.dirname, '..', 'src');
for await (const file of glob('**/*.*', { cwd: src })) {
  if (file.endsWith('.ts')) continue;
  await mkdir(dirname(join(dist, file)), { recursive: true });
  await copyFile(join(src, file), join(dist, file));
}
const compiled = pathToFileURL(join(dist, 'workers', 'bundle.js')).href;
const { bundleWorkflows } = (await import(compiled)) as typeof Bundle;
const { code } = await bundleWorkflows();
await writeFile(join(dist, BUNDLE_FILE), code);
process.stderr.write(`dist/${BUNDLE_FILE}: ${(code.length / 1e6).toFixed(1)} MB\n`);
