import type { HostileAgent } from '../types.ts';

export const agentNoGit: HostileAgent = {
  kind: 'agent',
  name: 'agent-no-git',
  tries: 'removes the repository, or leaves one that git cannot read.',
  expected: ['empty_patch', 'patch_failed'],
  script: () => 'rm -rf .git && mkdir .git && echo "gitdir: /nowhere" > .git/HEAD',
};
