import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createRandom, planFaults, type Fault } from '../../scripts/soak/faults.ts';
import { SOAK_RUNTIME, soak } from '../../scripts/soak/soak.ts';
import { temporalServer } from '../support/temporal.ts';
import { makeTinyRepository } from './tinyProject.ts';

const SEED = Number(process.env['REPOFORGE_TEST_SEED'] ?? Date.now() % 1_000_000);
const FAULTS = 5;
const KILLS = 10;

/** Faults of every target among kills of the worker. `npm run soak` has more of the former, on packages of the index. */
function shortPlan(): readonly Fault[] {
  const random = createRandom(SEED);
  const kills = planFaults(KILLS, random, [{ target: 'worker', signal: 'SIGKILL' }]);
  return planFaults(FAULTS, random).flatMap((fault, index) => [
    ...kills.slice(2 * index, 2 * index + 2),
    fault,
  ]);
}

describe.skipIf(process.getuid?.() !== 0)('a soak (needs root, for a dockerd of its own)', () => {
  it(`of ${FAULTS} kills, freezes and restarts of worker, server and dockerd and ${KILLS} more kills of the worker ends as if nothing had been`, async () => {
    process.stderr.write(`soak: REPOFORGE_TEST_SEED=${SEED}\n`);
    const directory = await mkdtemp(join(tmpdir(), 'rf-soak-'));
    try {
      const repository = join(directory, 'tiny');
      await makeTinyRepository(repository);
      const { problems, undisturbed, disturbed } = await soak({
        directory,
        request: {
          name: 'tiny',
          sources: [{ git: repository, name: 'test/tiny' }],
          options: { runtimes: [SOAK_RUNTIME] },
        },
        faults: shortPlan(),
        slots: 2,
        temporalCli: temporalServer().binary,
        say: (line) => void process.stderr.write(`  ${line}\n`),
      });
      expect(problems).toEqual([]);
      expect(disturbed.faults).toHaveLength(FAULTS + KILLS);
      expect(new Set(disturbed.faults.map(({ target }) => target)).size).toBe(3);
      expect(disturbed.dataset).toBe(undisturbed.dataset);
      expect(undisturbed.result.published).toBe(2);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }, 900_000); // ten minutes were measured on a machine with three times as much to do as it has cores
});

describe('a plan of faults', () => {
  it('hits every target within its first three, and is the same for the same seed', () => {
    const plan = planFaults(20, createRandom(7));
    expect(new Set(plan.slice(0, 3).map(({ target }) => target)).size).toBe(3);
    expect(new Set(plan.map(({ target, signal }) => `${target} ${signal}`)).size).toBe(7);
    expect(planFaults(20, createRandom(7))).toEqual(plan);
    expect(planFaults(20, createRandom(8))).not.toEqual(plan);
  });
});
