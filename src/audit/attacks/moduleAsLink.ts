import { deletedFile, newFile } from '../diff.ts';
import type { HostilePrediction } from '../types.ts';

export const moduleAsLink: HostilePrediction = {
  kind: 'prediction',
  name: 'module-as-link',
  tries: 'replaces the imported module by a link to a file outside of the tree.',
  expected: ['unresolved', 'patch_failed'],
  patch: ({ imported }) =>
    deletedFile(imported.path, imported.text) + newFile(imported.path, '/proc/self/environ', '120000'),
};
