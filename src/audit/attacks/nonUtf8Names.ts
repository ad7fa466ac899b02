import { newFile } from '../diff.ts';
import type { HostilePrediction } from '../types.ts';

export const nonUtf8Names: HostilePrediction = {
  kind: 'prediction',
  name: 'non-utf8-names',
  tries: 'adds files whose names are not UTF-8, or hold line ends and quotes.',
  expected: ['unresolved', 'patch_failed'],
  patch: () =>
    Buffer.concat([
      Buffer.from(newFile('audit_\u00e9.py', 'x = 1\n').replaceAll('\u00e9', '\u00ff'), 'latin1'),
      Buffer.from(
        'diff --git "a/audit\\n\\"x.py" "b/audit\\n\\"x.py"\nnew file mode 100644\n--- /dev/null\n+++ "b/audit\\n\\"x.py"\n@@ -0,0 +1,1 @@\n+x = 1\n',
      ),
    ]),
};
