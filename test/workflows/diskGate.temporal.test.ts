import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createDiskGate } from '../../src/sandbox/disk.ts';
import { eventually } from '../support/eventually.ts';
import { noSmallDisk, smallDisk } from '../support/smallDisk.ts';
import { temporalEnvironment } from '../support/temporal.ts';
import { ids, withBench } from '../support/workflowBench.ts';

const MB = 1024 ** 2;
const reason = noSmallDisk();
if (reason !== undefined) process.stderr.write(`Skipped, a campaign on a full disk: ${reason}.\n`);

let env: TestWorkflowEnvironment;
beforeAll(async () => {
  env = await temporalEnvironment();
});
afterAll(() => env.teardown());

test.skipIf(reason !== undefined)(
  'A campaign on a disk below the floor waits, shows why in Temporal and to the person, and goes on by itself once there is room',
  async () => {
    await using disk = await smallDisk(4 * MB);
    const filler = join(disk.dir, 'filler');
    await writeFile(filler, Buffer.alloc(3 * MB, 'x'));
    const said: string[] = [];
    const gate = createDiskGate({
      floorBytes: 2 * MB,
      places: () => Promise.resolve([disk.dir]),
      say: (line) => said.push(line),
    });
    const plan = {
      candidates: { 'pypi:alpha': ids('a', 3) },
      before: ({ activity }: { activity: string }) =>
        activity === 'resolveEnvironment' ? gate() : Promise.resolve(),
    };
    await withBench(env, 'disk', plan, async (bench) => {
      const handle = await bench.start(bench.input([{ pypi: 'alpha' }]));
      const waiting = await eventually('an activity waits for its next try', async () => {
        const { raw } = await env.client.workflow.getHandle(bench.instanceId('a-00')).describe();
        return raw.pendingActivities?.find((pending) => pending.lastFailure);
      });
      expect(waiting.lastFailure?.applicationFailureInfo?.type).toBe('Infra.NoDisk');
      expect(waiting.lastFailure?.message).toMatch(
        /^Only 0\.0 GB are free on the disk of .*the work goes on by itself\.$/,
      );
      expect(bench.of('realiseEnvironment')).toEqual([]);
      await rm(filler);
      expect((await handle.result()).counts).toMatchObject({ accepted: 3, rejected: {} });
      expect(said).toEqual([
        expect.stringMatching(/^Work waits for disk space\./),
        'There is disk space again; work goes on.',
      ]);
    });
  },
);
