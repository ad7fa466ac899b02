import type { RunningWorkers } from '../workers/main.ts';
import { EXIT, type Output } from './output.ts';

/**
 * The first SIGINT or SIGTERM stops the workers in good order: running work is handed back to Temporal. A second one ends
 * the process at once, which loses nothing either: what was running is tried again.
 */
function stopOnSignal(workers: RunningWorkers, output: Output): { release(): void } {
  let stopping = false;
  const stop = (): void => {
    if (stopping) process.exit(EXIT.failed);
    stopping = true;
    output.say(
      'Stopping; running work is handed back. The same command goes on from here. Once more ends at once.',
    );
    void workers.stop().catch((error: unknown) => output.say(String(error)));
  };
  process.on('SIGINT', stop).on('SIGTERM', stop);
  return { release: () => void process.off('SIGINT', stop).off('SIGTERM', stop) };
}

/** Workers in this process for the time of `work`; a signal stops them, and so does its end. */
export async function withWorkers<T>(
  starting: Promise<RunningWorkers>,
  output: Output,
  work: (workers: RunningWorkers) => Promise<T>,
): Promise<T> {
  const workers = await starting;
  const signals = stopOnSignal(workers, output);
  try {
    return await work(workers);
  } finally {
    signals.release();
    await workers.stop();
  }
}
