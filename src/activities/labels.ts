import type { ArtefactRef, Candidate } from '../domain/types.ts';
import { patchedPaths } from '../export/patchedPaths.ts';
import type { Labeler, LabelInput } from '../labeling/types.ts';
import type { MirrorStore } from '../sources/types.ts';
import type { ArtefactStore } from '../store/types.ts';
import type { InstanceLists } from './decisions.ts';
import type { LlmActivities } from './types.ts';
import { recorded, withWork } from './work.ts';
import type { WorkDeps } from './work.ts';

export interface LabelDeps extends WorkDeps {
  readonly store: ArtefactStore;
  readonly mirrors: MirrorStore;
  readonly labeler: Labeler;
}

/** Labels of an instance; a recorded label is never asked for again, so a retried vote is one vote. */
export function createLabelActivities(deps: LabelDeps): LlmActivities {
  return {
    labelInstance: (request) =>
      withWork(deps, request.campaign, (context) =>
        recorded(deps, request, async () => {
          const lists = await deps.store.getJson<InstanceLists>(request.lists);
          const input = await labelInputOf(deps, request.candidate, lists);
          const { signal, heartbeat } = context;
          const labels = await deps.labeler.label(input, { signal, heartbeat });
          return { labels: await deps.store.putJson(labels) };
        }),
      ),
  };
}

/** Everything a labeller reads: never the hints, which a solver does not see either. */
export async function labelInputOf(
  deps: Pick<LabelDeps, 'store' | 'mirrors'>,
  candidateRef: ArtefactRef,
  lists: Pick<InstanceLists, 'FAIL_TO_PASS' | 'PASS_TO_PASS'>,
): Promise<LabelInput> {
  const { store } = deps;
  const candidate = await store.getJson<Candidate>(candidateRef);
  const [patch, testPatch, problemStatement] = await Promise.all([
    store.getText(candidate.patch),
    store.getText(candidate.testPatch),
    store.getText(candidate.problemStatement),
  ]);
  const mirror = await deps.mirrors.open(candidate.mirror);
  const paths = [...patchedPaths(patch).changed, ...patchedPaths(testPatch).changed];
  const contents = await mirror.readFiles(candidate.baseCommit, paths);
  return {
    instanceId: candidate.instanceId,
    repo: candidate.repo,
    problemStatement,
    patch,
    testPatch,
    files: [...contents].flatMap(([path, bytes]) =>
      bytes.includes(0) ? [] : [{ path, content: bytes.toString('utf8') }],
    ),
    failToPass: lists.FAIL_TO_PASS,
    passToPass: lists.PASS_TO_PASS,
  };
}
