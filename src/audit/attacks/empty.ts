import type { HostilePrediction } from '../types.ts';

export const empty: HostilePrediction = {
  kind: 'prediction',
  name: 'empty',
  tries: 'hands in a prediction without a patch.',
  expected: ['empty_patch'],
  patch: () => ({ nothing: 'empty' }),
};
