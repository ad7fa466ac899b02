import { newFile } from '../diff.ts';
import type { HostilePrediction } from '../types.ts';

export const pathTraversal: HostilePrediction = {
  kind: 'prediction',
  name: 'path-traversal',
  tries: 'names paths above the tree and inside .git.',
  expected: ['patch_failed', 'unresolved'],
  patch: () =>
    ['../audit.py', '.git/hooks/post-checkout', '.git/config', '/etc/audit']
      .map((path) => newFile(path, 'x\n'))
      .join(''),
};
