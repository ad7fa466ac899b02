import { newFile } from '../diff.ts';
import type { HostilePrediction } from '../types.ts';

export const hugeFile: HostilePrediction = {
  kind: 'prediction',
  name: 'huge-file',
  tries: 'adds a file of forty megabytes.',
  expected: ['patch_failed'],
  patch: () => newFile('audit_huge.txt', `${'x'.repeat(1023)}\n`.repeat(40 * 1024)),
};
