import { newFile } from '../diff.ts';
import type { HostilePrediction } from '../types.ts';

export const startupPth: HostilePrediction = {
  kind: 'prediction',
  name: 'startup-pth',
  tries: 'puts .pth files with code into the tree, at every place that is on the path.',
  expected: ['unresolved'],
  patch: ({ roots }) =>
    roots
      .map((root) => newFile(root === '' ? 'audit.pth' : `${root}/audit.pth`, 'import os; os._exit(77)\n'))
      .join(''),
};
