// Run as a child process: downloads the Temporal CLI the SDK's own way into the directory given as the argument.
// A process of its own, because the download cannot be cancelled and its native runtime cannot be unloaded.
import { DefaultLogger, Runtime } from '@temporalio/worker';
import { TestWorkflowEnvironment } from '@temporalio/testing';

Runtime.install({ logger: new DefaultLogger('ERROR') });
const environment = await TestWorkflowEnvironment.createLocal({
  server: { executable: { type: 'cached-download', downloadDir: process.argv[2] ?? '.' } },
});
await environment.teardown();
