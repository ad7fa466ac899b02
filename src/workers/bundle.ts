import { existsSync } from 'node:fs';
import { extname, join } from 'node:path';
import { DefaultLogger, bundleWorkflowCode } from '@temporalio/worker';
import type { WorkflowBundleOption } from '@temporalio/worker';

/** File that the build writes beside the compiled sources: `dist/workflow-bundle.js`. */
export const BUNDLE_FILE = 'workflow-bundle.js';

/**
 * Webpack's one pass over `src/workflows`. The published package carries the result (made by `scripts/bundle.ts`); a
 * checkout bundles in half a second at start. Our own extension says which of the two this is.
 */
export async function workflowBundle(): Promise<WorkflowBundleOption> {
  const prebuilt = join(import.meta.dirname, '..', BUNDLE_FILE);
  if (extname(import.meta.filename) === '.js' && existsSync(prebuilt)) return { codePath: prebuilt };
  return { code: (await bundleWorkflows()).code };
}

/** Bundles the workflow code. Webpack's own report would go to stderr, so only its warnings are let through. */
export const bundleWorkflows = (): Promise<{ readonly code: string }> =>
  bundleWorkflowCode({
    workflowsPath: join(import.meta.dirname, '..', 'workflows', `index${extname(import.meta.filename)}`),
    logger: new DefaultLogger('WARN'),
  });
