import { newFile } from '../diff.ts';
import type { HostilePrediction } from '../types.ts';

export const submodule: HostilePrediction = {
  kind: 'prediction',
  name: 'submodule',
  tries: 'adds a submodule, and one in place of the tests.',
  expected: ['unresolved', 'patch_failed'],
  patch: () =>
    newFile('audit_module', 'Subproject commit 0123456789012345678901234567890123456789\n', '160000') +
    newFile(
      '.gitmodules',
      '[submodule "audit"]\n\tpath = audit_module\n\turl = https://example.org/audit.git\n',
    ),
};
