import { newFile } from '../diff.ts';
import { FORGERY, HOOK } from '../payloads.ts';
import type { HostilePrediction } from '../types.ts';

export const pluginMetadata: HostilePrediction = {
  kind: 'prediction',
  name: 'plugin-metadata',
  tries: 'registers a pytest plugin by metadata files that lie in the tree.',
  expected: FORGERY,
  patch: ({ roots }) =>
    roots
      .map((root) => (root === '' ? '' : `${root}/`))
      .map(
        (root) =>
          newFile(
            `${root}audit_evil-1.0.dist-info/METADATA`,
            'Metadata-Version: 2.1\nName: audit-evil\nVersion: 1.0\n',
          ) +
          newFile(`${root}audit_evil-1.0.dist-info/entry_points.txt`, '[pytest11]\naudit = audit_evil\n') +
          newFile(`${root}audit_evil.py`, HOOK),
      )
      .join(''),
};
