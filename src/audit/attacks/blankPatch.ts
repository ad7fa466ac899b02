import type { HostilePrediction } from '../types.ts';

export const blankPatch: HostilePrediction = {
  kind: 'prediction',
  name: 'blank-patch',
  tries: 'hands in white space for a patch.',
  expected: ['empty_patch'],
  patch: () => ' \n\n',
};
