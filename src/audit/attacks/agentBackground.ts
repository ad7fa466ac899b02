import type { HostileAgent } from '../types.ts';

export const agentBackground: HostileAgent = {
  kind: 'agent',
  name: 'agent-background',
  tries:
    'leaves processes behind that rewrite the tree, the runner and the results after the patch was taken.',
  expected: ['unresolved'],
  script: ({ imported }) => `
printf '# touched by the audit\\n' >> ${imported.path}
nohup setsid sh -c 'sleep 2; while :; do for place in /testbed/conftest.py /testbed/${imported.path} /output/junit.xml /repoforge/canaries.py; do echo "import os; os._exit(77)" > "$place"; done; sleep 0.05; done' >/dev/null 2>&1 &
nohup setsid sh -c 'trap "" TERM INT HUP; while :; do git -C /testbed add -A; sleep 0.1; done' >/dev/null 2>&1 &
sleep 0.3
exit 0
`,
};
