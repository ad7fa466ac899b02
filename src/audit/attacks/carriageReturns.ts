import { changedFile } from '../diff.ts';
import type { HostilePrediction } from '../types.ts';

export const carriageReturns: HostilePrediction = {
  kind: 'prediction',
  name: 'carriage-returns',
  tries: 'hands in a patch whose lines end in carriage returns.',
  expected: ['unresolved', 'patch_failed'],
  patch: ({ imported }) =>
    changedFile(imported.path, imported.text, `${imported.text}\nAUDIT = 1\n`).replaceAll('\n', '\r\n'),
};
