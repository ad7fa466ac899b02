import type { HostilePrediction } from '../types.ts';

export const binary: HostilePrediction = {
  kind: 'prediction',
  name: 'binary',
  tries: 'adds a binary file by a binary patch.',
  expected: ['unresolved', 'patch_failed'],
  patch: () =>
    'diff --git a/audit.bin b/audit.bin\nnew file mode 100644\nindex 0000000000000000000000000000000000000000..a8a940627d132695a9769df883f85992f0ff4a43\nGIT binary patch\nliteral 4\nLcmZQzWMXDv0RR910\n\nliteral 0\nHcmV?d00001\n\n',
};
