import { atImport } from '../payloads.ts';

export const network = atImport({
  name: 'network',
  tries: 'opens connections to the world, the host and the Docker daemon, and asks for names.',
  expected: ['unresolved'],
  python: String.raw`
import os, socket, sys
if "_pytest" not in sys.modules:
    return
for family, address in [(socket.AF_INET, ("1.1.1.1", 53)), (socket.AF_INET, ("172.17.0.1", 22)), (socket.AF_INET, ("172.17.0.1", 7233)),
                        (socket.AF_INET, ("169.254.169.254", 80)), (socket.AF_UNIX, "/var/run/docker.sock"), (socket.AF_UNIX, "/run/containerd/containerd.sock")]:
    try:
        with socket.socket(family) as one:
            one.settimeout(1)
            one.connect(address)
    except OSError:
        continue
    os._exit(77)
try:
    socket.getaddrinfo("example.org", 443)
except OSError:
    return
os._exit(77)
`,
});
