import { setTimeout as delay } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import { isOutage } from '../client/outage.ts';
import type { Temporal } from '../setup/temporalServer.ts';
import type { Output } from './output.ts';
import type { ProgressView } from './progress.ts';

const POLL_MS = 1_000; // a query costs a workflow task when the workflow is not cached
const ANSWER_MS = 5_000; // Temporal counts as away when it has said nothing for so long

/** A workflow to follow to its end, with workers in this process. */
export interface Followed<P, R> {
  readonly session: {
    readonly client: Client;
    readonly temporal: Pick<Temporal, 'address' | 'embedded'>;
  };
  readonly what: 'campaign' | 'evaluation' | 'training run' | 'rollout run';
  readonly output: Output;
  readonly view: ProgressView<P>;
  readonly status: () => Promise<{ readonly progress: P | null } | null>;
  readonly wait: (signal: AbortSignal) => Promise<R>;
  readonly workersEnded: Promise<void>;
}

/**
 * Shows progress until the workflow ends. While Temporal is away it says so once and goes on waiting; a worker that dies
 * for good ends the wait with its error.
 */
export async function follow<P, R>(followed: Followed<P, R>): Promise<R> {
  const { what, view, wait, workersEnded } = followed;
  const ended = new AbortController();
  const polling = poll(followed, ended.signal);
  try {
    return await Promise.race([
      wait(ended.signal),
      workersEnded.then(() => {
        throw new Error(
          `The workers were stopped before the ${what} ended; run the same command again to go on.`,
        );
      }),
    ]);
  } finally {
    ended.abort();
    await polling;
    view.done();
  }
}

async function poll<P, R>(
  { session, what, output, view, status }: Followed<P, R>,
  ended: AbortSignal,
): Promise<void> {
  const { client, temporal } = session;
  let away = false;
  while (!ended.aborted) {
    try {
      const known = await client.withDeadline(Date.now() + ANSWER_MS, status);
      if (away) output.say(`Temporal is back; the ${what} goes on.`);
      away = false;
      if (known?.progress) view.show(known.progress);
    } catch (error) {
      if (isOutage(error) && !away && !ended.aborted) {
        away = true;
        output.say(awayLine(temporal));
      }
    }
    await delay(POLL_MS, undefined, { signal: ended }).catch(() => {});
  }
}

const awayLine = ({ address, embedded }: Pick<Temporal, 'address' | 'embedded'>): string =>
  `Temporal does not answer at ${address}; waiting until it does, nothing is lost.${embedded ? ' If it was ended: "repoforge dev" starts it again.' : ''}`;
