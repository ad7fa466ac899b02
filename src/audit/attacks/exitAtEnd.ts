import { FORGERY, atImport } from '../payloads.ts';

export const exitAtEnd = atImport({
  name: 'exit-at-end',
  tries: 'ends the interpreter with success when it would end with failures.',
  expected: FORGERY,
  python: 'import atexit, os, sys\nif "_pytest" in sys.modules:\n    atexit.register(os._exit, 0)',
});
