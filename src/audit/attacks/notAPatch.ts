import { changedFile } from '../diff.ts';
import type { HostilePrediction } from '../types.ts';

export const notAPatch: HostilePrediction = {
  kind: 'prediction',
  name: 'not-a-patch',
  tries: 'hands in a patch for lines that are not there.',
  expected: ['patch_failed'],
  patch: ({ imported }) => changedFile(imported.path, 'no such line\n', 'x = 1\n'),
};
