import type { HostilePrediction } from '../types.ts';

export const binary: HostilePrediction = {
  kind: 'prediction',
  name: 'binary',
  tries: 'adds a binary file by a binary patch.',
  expected: ['unresolved'],
  patch: () =>
    'diff --git a/audit.bin b/audit.bin\nnew file mode 100644\nindex 0000000000000000000000000000000000000000..747c794511a40a393e1a1f1ef97b18b076b53c3f\nGIT binary patch\nliteral 10\nRcmZQzWMWP%P01|b0sshv0w@3g\n\nliteral 0\nHcmV?d00001\n\n',
};
