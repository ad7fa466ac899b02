import { atImport } from '../payloads.ts';

export const exitNative = atImport({
  name: 'exit-native',
  tries: 'ends the process with success through the C library, past every handler.',
  expected: ['unresolved'],
  python: 'import ctypes, sys\nif "_pytest" in sys.modules:\n    ctypes.CDLL(None)._exit(0)',
});
