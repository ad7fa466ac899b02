/** What goes to a trainer and comes back; field names on the wire are the trainer's, in snake case. Pure. */

/** One branch of a trajectory with its episode's advantage. */
export interface TrainingSample {
  readonly sampleId: string;
  readonly tokenIds: readonly number[];
  /** Places of the sampled tokens in `tokenIds`. */
  readonly positions: readonly number[];
  /** One for each position. */
  readonly logprobs: readonly number[];
  /** One for each position; null: the whole vocabulary. Absent: null everywhere. */
  readonly allowed?: readonly (readonly number[] | null)[];
  readonly advantage: number;
  /** Factor of the loss of each of its tokens. For a mean over all tokens of a step: 1 ÷ their number. */
  readonly weight: number;
  readonly temperature: number;
  /** Versions of the sampled tokens: the oldest and the newest. */
  readonly oldestVersion: number;
  readonly newestVersion: number;
}

/** A step's samples as an artefact: in history before the trainer is called, so that a retry sends the same. */
export interface TrainingBatch {
  readonly schema: 1;
  readonly run: string;
  readonly step: number;
  readonly samples: readonly TrainingSample[];
}
