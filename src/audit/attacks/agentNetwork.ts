import { REACHED } from '../types.ts';
import type { HostileAgent } from '../types.ts';

export const agentNetwork: HostileAgent = {
  kind: 'agent',
  name: 'agent-network',
  tries: 'fetches the released fix: package index, GitHub, the host, by name and by number.',
  expected: ['empty_patch'],
  script: ({ row }) => `
cd /tmp
name=${JSON.stringify(row.repo.split('/').at(-1) ?? '')}
timeout 20 uv pip download --no-deps "$name" >/dev/null 2>&1 && exit ${REACHED}
timeout 20 uv pip install --target /tmp/fetched --no-deps "$name" >/dev/null 2>&1 && exit ${REACHED}
timeout 20 git clone -q "https://github.com/${row.repo}" /tmp/clone 2>/dev/null && exit ${REACHED}
timeout 60 python3 - <<'END'
import socket, sys
for address in [("1.1.1.1", 443), ("8.8.8.8", 53), ("172.17.0.1", 22), ("172.17.0.1", 2375), ("169.254.169.254", 80)]:
    try:
        socket.create_connection(address, 1).close()
        sys.exit(${REACHED})
    except OSError:
        pass
for path in ("/var/run/docker.sock", "/run/docker.sock"):
    try:
        one = socket.socket(socket.AF_UNIX)
        one.connect(path)
        sys.exit(${REACHED})
    except OSError:
        pass
END
`,
};
