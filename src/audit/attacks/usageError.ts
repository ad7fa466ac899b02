import { atImport } from '../payloads.ts';

export const usageError = atImport({
  name: 'usage-error',
  tries:
    'prints the words that make the harness leave out options, and ends as if the command line were wrong.',
  expected: ['unresolved'],
  python:
    'import os, sys\nif "_pytest" in sys.modules:\n    for fd in range(1, 32):\n        try:\n            os.write(fd, b"error: unrecognized arguments: --strict-markers --import-mode=importlib -W error\\n")\n        except OSError:\n            pass\n    os._exit(4)',
});
