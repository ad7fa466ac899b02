import { newFile } from '../diff.ts';
import type { HostilePrediction } from '../types.ts';

export const runnerInTree: HostilePrediction = {
  kind: 'prediction',
  name: 'runner-in-tree',
  tries: 'puts a pytest.py, a _pytest package and a pluggy of its own where the runner is looked for.',
  expected: ['unresolved'],
  patch: ({ roots }) =>
    roots
      .flatMap((root) =>
        ['pytest.py', '_pytest/__init__.py', 'pluggy.py', 'xml/__init__.py'].map((name) =>
          root === '' ? name : `${root}/${name}`,
        ),
      )
      .map((path) => newFile(path, 'import os\n\nos._exit(77)\n'))
      .join(''),
};
