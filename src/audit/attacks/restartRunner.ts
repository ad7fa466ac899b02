import { FORGERY, HOOK, atImport, pythonText } from '../payloads.ts';

export const restartRunner = atImport({
  name: 'restart-runner',
  tries: 'starts the runner anew in its own process, with a plugin named in the environment.',
  expected: FORGERY,
  python: `
import os, sys, tempfile
if "_pytest" not in sys.modules or os.environ.get("AUDIT"):
    return
place = tempfile.mkdtemp()
open(place + "/audit_restarted.py", "w").write(${pythonText(HOOK)})
os.environ.update(AUDIT="1", PYTHONPATH=place, PYTEST_ADDOPTS="-p audit_restarted")
arguments = open("/proc/self/cmdline").read().split(chr(0))[:-1]
os.execv(sys.executable, arguments)
`,
});
