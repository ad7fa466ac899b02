import { ApplicationFailure } from '@temporalio/common';

/** `type` of every ApplicationFailure that RepoForge throws. Workflows branch on these, never on message text. */
export const FAILURE_TYPES = {
  /** The docker daemon, disk, network or a server failed: retried, never a verdict. */
  infra: 'Infra',
  /** Free disk under the floor: retried slowly until there is room. */
  noDisk: 'Infra.NoDisk',
  /** No room where the trainer writes: another disk than the one that workers watch. */
  trainerDisk: 'Infra.TrainerDisk',
  /** What a container was to mount is not there: an environment that was collected is made again. */
  missingMount: 'Infra.MissingMount',
  /** A host has as many episodes open as it may: asked again soon. */
  hostFull: 'Infra.HostFull',
  /** An episode's workspace is not on this host (any more): it is opened anew, and its acts are done again. */
  episodeLost: 'EpisodeLost',
  rateLimited: 'RateLimited',
  authentication: 'Authentication',
  notFound: 'NotFound',
  badInput: 'BadInput',
  /** A server answered something that is not what its protocol promises. */
  badAnswer: 'BadAnswer',
  /** No policy server has the version asked for: it is loaded again by whoever comes next. */
  missingPolicy: 'Infra.MissingPolicy',
  /** A policy server serves other weights than it should. */
  wrongPolicy: 'WrongPolicy',
  /** Prompt and answer do not fit the model's context. */
  contextLength: 'ContextLength',
  /** The trainer's state does not allow what was asked; see `TrainerRefused`. */
  trainerRefused: 'Trainer.Refused',
  /** Loss or gradients are not finite: the step was not taken. */
  notFinite: 'Trainer.NotFinite',
  cancelled: 'Cancelled',
} as const;
export type FailureType = (typeof FAILURE_TYPES)[keyof typeof FAILURE_TYPES];

const MAX_MESSAGE_CHARACTERS = 2_000; // the server cuts failures over 4 KB held in mutable state

export const cutText = (text: string, characters: number = MAX_MESSAGE_CHARACTERS): string =>
  text.length <= characters ? text : `${text.slice(0, characters - 1)}…`;

/** Infrastructure failure: Temporal retries the activity, after `nextRetryMs` when the other side named a time. */
export function infraFailure(
  message: string,
  options: { readonly type?: FailureType; readonly nextRetryMs?: number; readonly cause?: unknown } = {},
): ApplicationFailure {
  return ApplicationFailure.create({
    message: cutText(message),
    type: options.type ?? FAILURE_TYPES.infra,
    nonRetryable: false,
    ...(options.nextRetryMs === undefined ? {} : { nextRetryDelay: options.nextRetryMs }),
    ...(options.cause instanceof Error ? { cause: options.cause } : {}),
  });
}

/** A failure that no retry mends. */
export function permanentFailure(type: FailureType, message: string, cause?: unknown): ApplicationFailure {
  return ApplicationFailure.create({
    message: cutText(message),
    type,
    nonRetryable: true,
    ...(cause instanceof Error ? { cause } : {}),
  });
}
