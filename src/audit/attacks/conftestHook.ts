import { newFile } from '../diff.ts';
import { HOOK } from '../payloads.ts';
import type { HostilePrediction } from '../types.ts';

export const conftestHook: HostilePrediction = {
  kind: 'prediction',
  name: 'conftest-hook',
  tries: 'turns failures into passes by a report hook in conftest.py, at the root and beside the tests.',
  expected: ['unresolved'],
  patch: ({ row, paths }) =>
    ['conftest.py', `${row.test_scope[0]?.split('/').slice(0, -1).join('/')}/conftest.py`]
      .filter((path) => !path.startsWith('/') && !paths.includes(path))
      .map((path) => newFile(path, HOOK))
      .join('') || null,
};
