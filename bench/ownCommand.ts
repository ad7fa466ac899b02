import { randomBytes } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import type { State } from '../src/setup/state.ts';
import { createScratchState } from './scratchState.ts';

const BIN = fileURLToPath(new URL('../bin/repoforge.mjs', import.meta.url));
const COMMAND_TIMEOUT_MS = 2 * 60 * 60_000; // a whole campaign on one slot

/** One gold run of a command, ours or the official harness's. */
export interface CommandRun {
  /** From the start of the process to its end. */
  readonly wallMs: number;
  readonly runId: string;
  /** Where it left its reports and logs. */
  readonly dir: string;
  readonly resolvedIds: readonly string[];
}

export interface OwnCommand extends AsyncDisposable {
  /** Evaluates gold of these instances as a user does; every verdict is executed, none is served. */
  evaluateGold(input: {
    readonly dataset: string;
    readonly ids: readonly string[];
    readonly slots: number;
  }): Promise<CommandRun>;
}

/**
 * `repoforge evaluate` as users run it, with an empty verdict cache. Its Temporal server stays up between two runs, as it
 * does for users.
 */
export async function createOwnCommand(from: State): Promise<OwnCommand> {
  const scratch = await createScratchState(from, ['evaluations', 'runs']);
  const { paths, dir } = scratch.state;
  return {
    async evaluateGold({ dataset, ids, slots }) {
      await rm(join(paths.records, 'evaluations'), { recursive: true, force: true });
      const runId = `bench-${randomBytes(4).toString('hex')}`;
      const args = ['evaluate', '-d', dataset, '--gold', '--run-id', runId, '-j', String(slots), '--json'];
      const startedMs = performance.now();
      const { stdout } = await execa(process.execPath, [BIN, ...args, '--state', dir, '-i', ...ids], {
        env: { REPOFORGE_QUEUE_PREFIX: scratch.queuePrefix },
        timeout: COMMAND_TIMEOUT_MS,
      });
      const wallMs = Math.round(performance.now() - startedMs);
      const result = JSON.parse(stdout) as {
        readonly executed: number;
        readonly resolved_ids: readonly string[];
      };
      if (result.executed !== ids.length)
        throw new Error(`${ids.length} evaluations were to be executed: ${stdout.slice(0, 500)}`);
      return { wallMs, runId, dir: join(paths.runs, runId), resolvedIds: result.resolved_ids };
    },
    [Symbol.asyncDispose]: () => scratch[Symbol.asyncDispose](),
  };
}

/** A text file, '' when there is none. */
export const textOf = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '');
