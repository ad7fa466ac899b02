import { newFile } from '../diff.ts';
import type { HostilePrediction } from '../types.ts';

export const testsShadowed: HostilePrediction = {
  kind: 'prediction',
  name: 'tests-shadowed',
  tries: 'puts packages and modules of the names of the tests where they would be imported first.',
  expected: ['unresolved'],
  patch: ({ row, paths, roots }) => {
    const names = row.test_scope.flatMap((path) => [
      path.replace(/\.py$/, '/__init__.py'),
      ...roots.map((root) => `${root === '' ? '' : `${root}/`}${path.split('/').at(-1)}`),
    ]);
    const free = [...new Set(names)].filter(
      (path) => !paths.includes(path) && !row.test_scope.includes(path),
    );
    return free.length === 0
      ? null
      : free.map((path) => newFile(path, 'def test_all():\n    pass\n')).join('');
  },
};
