/** A deliberately broken variant: every workflow waits before its first step, which no recorded history did. */
import { sleep } from '@temporalio/workflow';
import * as real from '../../src/workflows/index.ts';

const broken =
  <Input, Output>(workflow: (input: Input) => Promise<Output>) =>
  async (input: Input): Promise<Output> => {
    await sleep('1 minute');
    return workflow(input);
  };

export const campaign = broken(real.campaign);
export const environment = broken(real.environment);
export const evaluation = broken(real.evaluation);
export const instance = broken(real.instance);
export const janitor = broken(real.janitor);
export const rl = broken(real.rl);
export const rollout = broken(real.rollout);
export const rollouts = broken(real.rollouts);
