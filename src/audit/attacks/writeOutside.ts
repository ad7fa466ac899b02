import { atImport } from '../payloads.ts';

export const writeOutside = atImport({
  name: 'write-outside',
  tries: 'writes into the environment, the venv and the runner’s own files while it is imported.',
  expected: ['unresolved'],
  python: String.raw`
import glob, os, sys
if "_pytest" not in sys.modules:
    return
places = ["/env", "/venv", "/venv/bin", "/repoforge", "/usr/lib/python3", "/etc", *glob.glob("/venv/lib/python3*/site-packages"), *glob.glob("/env/_pytest")]
for place in places:
    try:
        open(os.path.join(place, "audit.pth"), "w").write("x")
    except OSError:
        continue
    os._exit(77)
for name in glob.glob("/testbed/.repoforge-*") + glob.glob("/repoforge/*"):
    try:
        open(name, "r+").write("x")
    except OSError:
        continue
    os._exit(77)
`,
});
