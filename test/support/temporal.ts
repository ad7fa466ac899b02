import { TestWorkflowEnvironment } from '@temporalio/testing';
import { DefaultLogger, Runtime } from '@temporalio/worker';
import { inject } from 'vitest';

/** The run's embedded server: address, namespace and the CLI binary that it was started from. */
export function temporalServer(): {
  readonly address: string;
  readonly namespace: string;
  readonly binary: string;
} {
  const server = inject('temporal');
  if (server === null) throw new Error('No Temporal server in this layer: name the file *.temporal.test.ts.');
  return server;
}

/** For `Worker.create({ workflowBundle })`: the bundle of src/workflows, made once per test run. */
export function workflowBundle(): { readonly codePath: string } {
  const codePath = inject('workflowBundle');
  if (codePath === null) throw new Error('There is no src/workflows/index.ts to bundle.');
  return { codePath };
}

let quiet = false;

/** Keeps the SDK's own log out of the test's output; before the first worker. */
export function quietRuntime(): void {
  if (!quiet) Runtime.install({ logger: new DefaultLogger('ERROR') });
  quiet = true;
}

/** Connections to the run's server; call `teardown()` in afterAll (the server itself stays up). */
export async function temporalEnvironment(): Promise<TestWorkflowEnvironment> {
  quietRuntime();
  const { address, namespace } = temporalServer();
  return TestWorkflowEnvironment.createFromExistingServer({ address, namespace });
}

let counter = 0;

/** A queue prefix that no other test uses: workflows of one test never get another's workers. */
export const uniquePrefix = (name: string): string =>
  `${name}-${process.pid}-${Date.now().toString(36)}-${(counter += 1)}`;
