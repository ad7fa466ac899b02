/** Part of the build: bundles the compiled workflows once, into `dist/workflow-bundle.js`, where workers look for it. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { BUNDLE_FILE } from '../src/workers/bundle.ts';
import type * as Bundle from '../src/workers/bundle.ts';

const dist = join(import.meta.dirname, '..', 'dist');
const compiled = pathToFileURL(join(dist, 'workers', 'bundle.js')).href;
const { bundleWorkflows } = (await import(compiled)) as typeof Bundle;
const { code } = await bundleWorkflows();
await writeFile(join(dist, BUNDLE_FILE), code);
process.stderr.write(`dist/${BUNDLE_FILE}: ${(code.length / 1e6).toFixed(1)} MB\n`);
