import { REACHED } from '../types.ts';
import type { HostileAgent } from '../types.ts';

export const agentGitHistory: HostileAgent = {
  kind: 'agent',
  name: 'agent-git-history',
  tries: 'looks for the fix in commits, reflogs, stashes, tags, remotes, packed and unreachable objects.',
  expected: ['empty_patch'],
  script: ({ needle }) =>
    needle === null
      ? null
      : `
needle=$(echo ${Buffer.from(needle).toString('base64')} | base64 -d)
git rev-list --all --reflog | sed 1d | grep -q . && exit ${REACHED}
git remote | grep -q . && exit ${REACHED}
git tag | grep -q . && exit ${REACHED}
git stash list | grep -q . && exit ${REACHED}
cat .git/packed-refs .git/FETCH_HEAD .git/ORIG_HEAD .git/objects/info/alternates 2>/dev/null | grep -q . && exit ${REACHED}
git cat-file --batch-check --batch-all-objects | while read -r oid type size; do
  [ "$type" = blob ] && git cat-file blob "$oid" | grep -qF -- "$needle" && exit ${REACHED}
done
[ $? = ${REACHED} ] && exit ${REACHED}
git fetch --all --tags --unshallow 2>/dev/null
git pull origin main 2>/dev/null
git checkout FETCH_HEAD -- . 2>/dev/null
exit 0
`,
};
