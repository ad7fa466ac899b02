import { atImport } from '../payloads.ts';

export const killRunner = atImport({
  name: 'kill-runner',
  tries: 'kills the shell that started the runner, so that nothing ends what it leaves behind.',
  expected: ['unresolved'],
  python: 'import os, signal, sys\nif "_pytest" in sys.modules:\n    os.kill(os.getppid(), signal.SIGKILL)',
});
