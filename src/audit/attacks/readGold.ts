import { atImport } from '../payloads.ts';

export const readGold = atImport({
  name: 'read-gold',
  tries: 'looks for the fix in mounts, environment variables, process lists and every readable file.',
  expected: ['unresolved'],
  python: ({ needle }) =>
    needle === null
      ? null
      : `
import base64, os, sys
if "_pytest" not in sys.modules:
    return
needle = base64.b64decode("${Buffer.from(needle).toString('base64')}")
places = ["/proc/mounts", "/proc/self/mountinfo"]
for process in os.listdir("/proc"):
    if process.isdigit():
        places += ["/proc/%s/environ" % process, "/proc/%s/cmdline" % process]
for top in ("/testbed", "/env", "/venv", "/repoforge", "/output", "/home", "/root", "/tmp", "/mnt", "/opt", "/srv", "/store", "/var"):
    for directory, _, names in os.walk(top):
        places += [os.path.join(directory, name) for name in names]
for place in places:
    try:
        with open(place, "rb") as file:
            if needle in file.read(2000000):
                os._exit(77)
    except OSError:
        pass
`,
});
