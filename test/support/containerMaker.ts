/** A process that starts one container, says its id, and then only lives. Arguments: installation, image. */
import { hostname } from 'node:os';
import pino from 'pino';
import { createDockerDriver } from '../../src/sandbox/docker.ts';

const [installation = '', image = ''] = process.argv.slice(2);
const driver = createDockerDriver({
  log: pino({ level: 'silent' }),
  buildNetwork: { network: 'bridge', caBundle: null, env: {} },
});
const sandbox = await driver.create({
  image,
  owner: {
    installation,
    host: hostname(),
    workflowId: 'instance/demo/x',
    runId: 'r',
    activityId: '1',
    attempt: 1,
  },
  network: 'none',
  limits: { memoryBytes: 64 * 1024 ** 2, pids: 16, cpus: 1 },
  mounts: [],
});
process.stdout.write(`${sandbox.id}\n`);
setInterval(() => undefined, 60_000);
