import type { Context } from '@temporalio/activity';

/** Beats several times within every heartbeat timeout in use (15 s), so that a busy event loop may miss two. */
const BEAT_EVERY_MS = 4_000;

/** What each running activity last said of itself; sent again with every beat. */
const lastDetails = new WeakMap<Context, unknown>();

/** Says how far an activity is; shown in Temporal UI while it runs. */
export function noteProgress(context: Context, details: unknown): void {
  lastDetails.set(context, details);
  context.heartbeat(details);
}

/**
 * Proof of life by timer until the activity has ended: a killed worker is noticed within one heartbeat timeout, whatever
 * the activity was busy with. It proves that the process lives, not that the work moves; work has deadlines of its own.
 * The timeout counts from the start, so a short activity needs no beat, and each would cost the server a write.
 */
export async function withHeartbeat<T>(context: Context, work: () => Promise<T>): Promise<T> {
  const timer = setInterval(() => context.heartbeat(lastDetails.get(context)), BEAT_EVERY_MS);
  try {
    return await work();
  } finally {
    clearInterval(timer);
  }
}
