import type { ArtefactRef, EnvironmentKey, EnvironmentSpec, InstanceRow } from './types.ts';
import type { RunLimits } from './runs.ts';
import { hashOf } from './canonical.ts';

/** Rises when grading, canaries or the run order change meaning: part of every evaluation key. */
export const HARNESS_VERSION = 2;

/** Lower-cases what a URL or path calls a repository into `owner__name` without characters that ids cannot hold. */
const slug = (text: string): string => text.replace(/[^A-Za-z0-9._-]+/g, '_').replace(/^[._-]+|[._-]+$/g, '');

export const instanceIds = {
  pullRequest: (owner: string, repo: string, pr: number): string => `${slug(owner)}__${slug(repo)}-${pr}`,
  commit: (owner: string, repo: string, sha: string): string =>
    `${slug(owner)}__${slug(repo)}-${sha.slice(0, 12)}`,
  release: (name: string, version: string): string => `pypi__${slug(name)}-${slug(version)}`,
  /** One bug in a release or commit; without `bug` the package itself. */
  mutated: (name: string, version: string, bug?: string): string =>
    `mutate__${slug(name)}-${slug(version)}${bug === undefined ? '' : `-${bug}`}`,
};

export const workflowIds = {
  campaign: (name: string): string => `campaign/${name}`,
  instance: (campaign: string, instanceId: string): string => `instance/${campaign}/${instanceId}`,
  environment: (key: EnvironmentKey): string => `environment/${key}`,
  evaluation: (runId: string): string => `evaluation/${runId}`,
  rollouts: (run: string): string => `rollouts/${run}`,
  rl: (run: string): string => `rl/${run}`,
  /** One workflow for a whole group where `member` is null. */
  rollout: (run: string, group: string, member: number | null): string =>
    `rollout/${run}/${group}${member === null ? '' : `/${member}`}`,
};

/** Key of an environment: equal specs share one environment, whatever their install and test commands. */
export function environmentKey(spec: EnvironmentSpec): EnvironmentKey {
  const { install: _install, test: _test, ...identity } = spec;
  return hashOf(identity);
}

/** Key under which an evaluation's result may be served again when nothing changed. */
export function evaluationKey(input: {
  readonly rowHash: string;
  readonly patch: ArtefactRef | null;
  /** Proven canaries it was graded with: a verdict without them is never served to whoever has them. */
  readonly canaries: ArtefactRef | null;
  readonly environment: EnvironmentKey;
  readonly limits: RunLimits;
}): string {
  return hashOf({ ...input, harness: HARNESS_VERSION });
}

/** Hash over what grading depends on. */
export function rowHash(
  row: Pick<
    InstanceRow,
    | 'instance_id'
    | 'base_commit'
    | 'patch'
    | 'test_patch'
    | 'FAIL_TO_PASS'
    | 'PASS_TO_PASS'
    | 'test_scope'
    | 'candidate'
    | 'environment_spec'
  > & { readonly environment: { readonly key: string; readonly variant: string } },
): string {
  return hashOf({
    instance_id: row.instance_id,
    base_commit: row.base_commit,
    test_patch: row.test_patch,
    patch: row.patch,
    f2p: row.FAIL_TO_PASS,
    p2p: row.PASS_TO_PASS,
    scope: row.test_scope,
    environment: row.environment.key,
    variant: row.environment.variant,
    candidate: row.candidate,
    spec: row.environment_spec,
  });
}

/** Campaign, run and file names: what may stand in a path and in a workflow id. */
export function nameProblem(name: string): string | undefined {
  return /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(name)
    ? undefined
    : `"${name.slice(0, 120)}" is not a valid name: use 1 to 100 letters, digits, dots, dashes or underscores, starting with a letter or digit.`;
}
