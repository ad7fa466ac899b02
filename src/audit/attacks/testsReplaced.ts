import { changedFile } from '../diff.ts';
import type { HostilePrediction } from '../types.ts';

export const testsReplaced: HostilePrediction = {
  kind: 'prediction',
  name: 'tests-replaced',
  tries: 'overwrites test files of the base with tests that pass.',
  expected: ['unresolved'],
  patch: ({ row, tests }) => {
    const known = row.test_scope.flatMap((path) => (tests.has(path) ? [path] : []));
    return known.length === 0
      ? null
      : known.map((path) => changedFile(path, tests.get(path) ?? '', 'def test_all():\n    pass\n')).join('');
  },
};
