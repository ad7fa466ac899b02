import { execa } from 'execa';
import { ensurePythonEnvironment, TRAINER_DIR } from '../../src/setup/pythonEnvironments.ts';
import { readSettings } from '../../src/setup/settings.ts';
import type { TrainingBatch, TrainingSample } from '../../src/domain/rl/training.ts';

/** Python of the trainer's environment, made when it is not there. */
export const trainerPython = async (): Promise<string> => {
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  return (await ensurePythonEnvironment('trainer', { settings: readSettings(), say })).python;
};

/** Runs a program of the trainer's package. */
export const runTrainerProgram = (
  python: string,
  module: string,
  args: readonly string[],
): Promise<{ readonly stdout: string }> =>
  execa(python, ['-m', module, ...args], {
    env: { PYTHONPATH: TRAINER_DIR },
    stdin: 'ignore',
  });

/** Samples with tokens drawn by their names; the last eight of each were sampled. */
export function batchOf(
  run: string,
  step: number,
  count: number,
  more: Partial<TrainingSample> = {},
): TrainingBatch {
  const samples = Array.from({ length: count }, (_none, at): TrainingSample => {
    let state = step * 7_919 + at * 104_729 + 1;
    const draw = (): number => (state = (state * 48_271) % 2_147_483_647);
    const tokenIds = Array.from({ length: 40 }, () => 10 + (draw() % 4_000));
    const positions = Array.from({ length: 8 }, (_item, place) => 32 + place);
    return {
      sampleId: `${step}/${at}`,
      tokenIds,
      positions,
      logprobs: positions.map(() => -8.3),
      advantage: at % 2 === 0 ? 1 : -1,
      weight: 1 / (count * 8),
      temperature: 1,
      oldestVersion: step - 1,
      newestVersion: step - 1,
      ...more,
    };
  });
  return { schema: 1, run, step, samples };
}
