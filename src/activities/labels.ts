import pLimit from 'p-limit';
import type { ArtefactRef, Candidate, Labels } from '../domain/types.ts';
import { patchedPaths } from '../export/patchedPaths.ts';
import type { LabelContext, Labeler, LabelInput } from '../labeling/types.ts';
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

/** Labels are bound by the rate of a paid API; rollouts, on the same queue, by the policy servers. */
const LABELS_AT_ONCE = 4;

/** Labels of an instance; a recorded label is never asked for again, so a retried vote is one vote. */
export function createLabelActivities(deps: LabelDeps): LlmActivities {
  const limit = pLimit(LABELS_AT_ONCE);
  return {
    labelInstance: (request) =>
      withWork(deps, request.campaign, (context) =>
        limit(() =>
          recorded(deps, request, async () => {
            const lists = await deps.store.getJson<InstanceLists>(request.lists);
            const template = await labelInputOf(deps, request.candidate, lists);
            const report =
              lists.problemStatement === undefined ? null : await reportOf(deps, template, context);
            const input = report === null ? template : { ...template, problemStatement: report.text };
            const { signal, heartbeat } = context;
            const labels = await deps.labeler.label(input, { signal, heartbeat });
            if (report === null) return { labels: await deps.store.putJson(labels) };
            return {
              labels: await deps.store.putJson({ ...labels, usage: sumOf(labels.usage, report.usage) }),
              problemStatement: await deps.store.put(report.text),
            };
          }),
        ),
      ),
  };
}

/** The words of a model for a bug that was made by rule; null where no model is configured: the template's stay. */
async function reportOf(
  { labeler }: LabelDeps,
  input: LabelInput,
  context: LabelContext,
): Promise<Awaited<ReturnType<NonNullable<Labeler['reportBug']>>> | null> {
  const { instanceId, testPatch, failToPass, problemStatement: failures } = input;
  const facts = { instanceId, failures, testPatch, failToPass };
  return (await labeler.reportBug?.(facts, context)) ?? null;
}

const sumOf = (one: Labels['usage'], other: Labels['usage']): Labels['usage'] => ({
  requests: one.requests + other.requests,
  promptTokens: one.promptTokens + other.promptTokens,
  cachedPromptTokens: one.cachedPromptTokens + other.cachedPromptTokens,
  completionTokens: one.completionTokens + other.completionTokens,
  usd: one.usd === null || other.usd === null ? null : one.usd + other.usd,
});

/** Everything a labeller reads: never the hints, which a solver does not see either. */
export async function labelInputOf(
  deps: Pick<LabelDeps, 'store' | 'mirrors'>,
  candidateRef: ArtefactRef,
  lists: Pick<InstanceLists, 'FAIL_TO_PASS' | 'PASS_TO_PASS' | 'problemStatement'>,
): Promise<LabelInput> {
  const { store } = deps;
  const candidate = await store.getJson<Candidate>(candidateRef);
  const [patch, testPatch, problemStatement] = await Promise.all([
    store.getText(candidate.patch),
    store.getText(candidate.testPatch),
    store.getText(lists.problemStatement ?? candidate.problemStatement),
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
