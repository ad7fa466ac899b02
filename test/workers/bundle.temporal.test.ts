import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { workflowBundle } from '../support/temporal.ts';

test('The workflow bundle holds our workflows, and no Node client library and no schema library', () => {
  const code = readFileSync(workflowBundle().codePath, 'utf8');
  // webpack names each module by its path
  const modules = new Set(
    [...code.matchAll(/node_modules\/((?:@[\w.-]+\/)?[\w.-]+)/g)].map((match) => match[1] ?? ''),
  );
  expect(code).toContain('src/workflows/campaign.ts');
  expect([...modules].toSorted((a, b) => a.localeCompare(b))).toMatchInlineSnapshot(`
    [
      "@noble/hashes",
      "@temporalio/common",
      "@temporalio/workflow",
      "long",
      "ms",
      "nexus-rpc",
    ]
  `);
});
