import type { HostilePrediction } from '../types.ts';

export const nop: HostilePrediction = {
  kind: 'prediction',
  name: 'nop',
  tries: 'scores without doing anything at all.',
  expected: ['unresolved'],
  patch: () => ({ nothing: 'nop' }),
};
