import { newFile } from '../diff.ts';
import type { HostilePrediction } from '../types.ts';

export const startupCustomize: HostilePrediction = {
  kind: 'prediction',
  name: 'startup-customize',
  tries: 'puts sitecustomize and usercustomize into the tree, to run before the runner does.',
  expected: ['unresolved'],
  patch: ({ roots }) =>
    roots
      .flatMap((root) =>
        ['sitecustomize.py', 'usercustomize.py'].map((name) => (root === '' ? name : `${root}/${name}`)),
      )
      .map((path) => newFile(path, 'import os\n\nos._exit(77)\n'))
      .join(''),
};
