import { changedMode } from '../diff.ts';
import type { HostilePrediction } from '../types.ts';

export const modeChanges: HostilePrediction = {
  kind: 'prediction',
  name: 'mode-changes',
  tries: 'makes files executable, and a directory of them special.',
  expected: ['unresolved', 'patch_failed'],
  patch: ({ imported, packaging }) =>
    [imported.path, ...packaging.keys()].map((path) => changedMode(path, '100644', '100755')).join(''),
};
