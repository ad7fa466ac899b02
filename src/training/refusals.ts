import { ApplicationFailure } from '@temporalio/common';
import { cutText, FAILURE_TYPES, type FailureType } from '../domain/failures.ts';

/** Why a trainer does not do what was asked: its `kind` on the wire. */
export const REFUSALS = [
  /** The run is not open: the trainer is a new process, or has another run open. */
  'no_run',
  /** Parts of the step are not there: the trainer is a new process, or somebody began the step anew. */
  'parts_missing',
  /** The step's passes were begun anew. */
  'wrong_epoch',
  /** Parts of the step came before with other samples or another loss. */
  'other_part',
  'other_parts',
  'twice_in_step',
  /** Not the step after the one that was committed last. */
  'wrong_step',
  /** The step was committed with another batch. */
  'other_batch',
  /** A sample belongs to a committed step. */
  'already_trained',
  /** The run began with another configuration. */
  'other_config',
  'bad_config',
  'not_finite',
  'no_disk',
  /** A trainer newer than we are. */
  'unknown',
] as const;
export type RefusalKind = (typeof REFUSALS)[number];

/** The trainer lost the step, or has another beginning of it: the run is opened again and its step begins anew. */
export const BEGIN_ANEW = [
  'no_run',
  'parts_missing',
  'wrong_epoch',
  'other_part',
  'other_parts',
  'twice_in_step',
] as const satisfies readonly RefusalKind[];
/** A new attempt can mend it. */
const MENDED_BY_RETRY: ReadonlySet<RefusalKind> = new Set([...BEGIN_ANEW, 'no_disk']);

/** A trainer said no; nothing was changed. Callers branch on `kind`, workflows on `type`. */
export class TrainerRefused extends ApplicationFailure {
  readonly kind: RefusalKind;
  /** What a program needs: the parts that are missing, the step that the run is at, … */
  readonly facts: Readonly<Record<string, unknown>>;

  constructor(kind: string, message: string, facts: Readonly<Record<string, unknown>> = {}) {
    const known = REFUSALS.find((one) => one === kind) ?? 'unknown';
    super(cutText(`The trainer refused (${kind}): ${message}`), typeOf(known), !MENDED_BY_RETRY.has(known));
    this.kind = known;
    this.facts = facts;
  }
}

function typeOf(kind: RefusalKind): FailureType {
  if (kind === 'no_disk') return FAILURE_TYPES.trainerDisk;
  if (kind === 'not_finite') return FAILURE_TYPES.notFinite;
  return FAILURE_TYPES.trainerRefused;
}

/** Whether an error is a trainer's refusal of one of these kinds. */
export const isRefusal = (error: unknown, ...kinds: readonly RefusalKind[]): error is TrainerRefused =>
  error instanceof TrainerRefused && kinds.includes(error.kind);
