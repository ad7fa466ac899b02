import { newFile } from '../diff.ts';
import type { HostilePrediction } from '../types.ts';

export const symlinkOut: HostilePrediction = {
  kind: 'prediction',
  name: 'symlink-out',
  tries: 'puts links that lead out of the tree in place of directories and files that are written later.',
  expected: ['unresolved'],
  patch: ({ row, paths }) =>
    ['audit_link', `${(row.test_scope[0] ?? '').split('/')[0]}_link`, '.repoforge-pytest.ini']
      .filter((path) => !paths.includes(path))
      .map((path) => newFile(path, '/output', '120000'))
      .join('') + newFile('audit_passwd', '../../../../etc/passwd', '120000'),
};
