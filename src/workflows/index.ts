/** Entry of the workflow bundle: the names that a worker registers. */
export { campaign } from './campaign.ts';
export { environment } from './environment.ts';
export { evaluation } from './evaluation.ts';
export { instance } from './instance.ts';
export { janitor } from './janitor.ts';
export { rl } from './rl.ts';
export { rollout } from './rollout.ts';
export { rollouts } from './rollouts.ts';
