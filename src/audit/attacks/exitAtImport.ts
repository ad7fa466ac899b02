import { atImport } from '../payloads.ts';

export const exitAtImport = atImport({
  name: 'exit-at-import',
  tries: 'ends the interpreter with success while it is imported.',
  expected: ['unresolved'],
  python: 'import os, sys\nif "_pytest" in sys.modules:\n    os._exit(0)',
});
