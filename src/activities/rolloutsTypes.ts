import type { RolloutInput } from '../domain/rl/messages.ts';
import type { RolloutsPhase, RolloutsReport } from '../domain/rl/rollouts.ts';
import type { RolloutOutcome } from '../domain/rl/trajectory.ts';
import type { ArtefactRef } from '../domain/types.ts';

/** What the rollouts workflow asks of the world, on the `control` queue. Types only. */
export interface RolloutsControlActivities {
  /** Rollouts of a phase from `offset` on; those that are recorded come with their outcome. */
  readRollouts(request: {
    readonly queuePrefix: string;
    readonly manifest: ArtefactRef;
    readonly servers: readonly string[];
    readonly phase: RolloutsPhase;
    readonly offset: number;
    readonly count: number;
  }): Promise<readonly RolloutUnit[]>;
  /** Predictions, trajectories and the table, from the records. */
  writeRollouts(request: { readonly manifest: ArtefactRef }): Promise<RolloutsReport>;
}

export interface RolloutUnit {
  /** null: there is nothing to play, as where an instance has no two patches to choose from. */
  readonly input: RolloutInput | null;
  readonly settled: RolloutOutcome | null;
}
