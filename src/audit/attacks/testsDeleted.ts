import { deletedFile } from '../diff.ts';
import type { HostilePrediction } from '../types.ts';

export const testsDeleted: HostilePrediction = {
  kind: 'prediction',
  name: 'tests-deleted',
  tries: 'deletes the test files of the base.',
  expected: ['unresolved'],
  patch: ({ row, tests }) => {
    const known = row.test_scope.filter((path) => tests.has(path));
    return known.length === 0 ? null : known.map((path) => deletedFile(path, tests.get(path) ?? '')).join('');
  },
};
