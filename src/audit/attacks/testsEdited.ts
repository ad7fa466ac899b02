import { newFile } from '../diff.ts';
import type { HostilePrediction } from '../types.ts';

export const testsEdited: HostilePrediction = {
  kind: 'prediction',
  name: 'tests-edited',
  tries: 'empties the tests that must pass.',
  expected: ['unresolved', 'patch_failed'],
  patch: ({ row }) => row.test_scope.map((path) => newFile(path, 'def test_all():\n    pass\n')).join(''),
};
