import type { SandboxOwner } from './types.ts';

/** Names of the labels on everything that RepoForge makes in Docker. */
export const LABELS = {
  installation: 'repoforge.installation',
  host: 'repoforge.host',
  campaign: 'repoforge.campaign',
  workflow: 'repoforge.workflow',
  run: 'repoforge.run',
  activity: 'repoforge.activity',
  attempt: 'repoforge.attempt',
  /** The process that made it, so that orphans can be told; see `processTag`. */
  process: 'repoforge.process',
  /** On base images: the rule version they were made by. Base images belong to no installation. */
  base: 'repoforge.base',
} as const;

export type Labels = Readonly<Record<string, string>>;

/** Labels of a container; parts of the owner that are not known leave no label. */
export function labelsOf(owner: SandboxOwner): Labels {
  const entries: readonly (readonly [string, string | number | undefined])[] = [
    [LABELS.installation, owner.installation],
    [LABELS.host, owner.host],
    [LABELS.campaign, owner.campaign],
    [LABELS.workflow, owner.workflowId],
    [LABELS.run, owner.runId],
    [LABELS.activity, owner.activityId],
    [LABELS.attempt, owner.attempt],
  ];
  return Object.fromEntries(
    entries.flatMap(([label, value]) => (value === undefined ? [] : [[label, String(value)]])),
  );
}

/**
 * Label filter that finds all containers of the activity that `owner` is an attempt of, or null when there can be no
 * earlier attempt (the first one, or an owner outside Temporal): that spares the first attempt a call to the daemon.
 */
export function earlierAttemptsFilter(owner: SandboxOwner): readonly string[] | null {
  const { workflowId, runId, activityId, attempt } = owner;
  if (workflowId === undefined || runId === undefined || activityId === undefined) return null;
  if (attempt === undefined || attempt <= 1) return null;
  const { [LABELS.attempt]: _attempt, [LABELS.host]: _host, ...activity } = labelsOf(owner);
  return Object.entries(activity).map(([label, value]) => `${label}=${value}`);
}

/** True when the labels are those of an attempt before `attempt`. */
export const isEarlierAttempt = (labels: Labels, attempt: number): boolean =>
  Number(labels[LABELS.attempt] ?? Number.POSITIVE_INFINITY) < attempt;

/** Name of the installation's store volume. */
export const storeVolumeName = (installation: string): string => `repoforge-${installation}-store`;
