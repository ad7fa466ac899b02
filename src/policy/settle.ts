import { setTimeout as delay } from 'node:timers/promises';
import type { Span } from '../domain/rl/intervals.ts';
import { FAILURE_TYPES, permanentFailure } from '../domain/failures.ts';
import { isPassing, isType } from './failures.ts';
import { fullEntry, labelOf, sameVersion, type Entry, type LockedLedger } from './ledger.ts';
import { judgeProbe, type ProbeResult } from './probe.ts';
import type { VllmServer } from './vllm.ts';

/** Label of weights that a failed load left behind: nothing is sampled from them. */
const UNKNOWN_WEIGHTS = 'unknown';
const RESUME_TRIES = 10;

export interface Settled {
  /** In words, what was done. */
  readonly done: readonly string[];
  /** When the server stood still for it. */
  readonly paused: readonly Span[];
}

/**
 * Brings a server to what its ledger wants of a run: all parameters loaded, adapters there, nothing paused, retired
 * adapters away. Looks first, so that on a server which is as it should be it costs three
 * requests. The caller holds the server's lock.
 */
export async function settle(
  server: VllmServer,
  ledger: LockedLedger,
  run: string,
  signal: AbortSignal,
): Promise<Settled> {
  const done: string[] = [];
  const paused: Span[] = [];
  const own = ledger.entries.filter((entry) => entry.run === run);
  const full = fullEntry(own);
  if (full && (await server.weightVersion({ signal })) !== labelOf(full)) {
    await doubt(ledger, full);
    paused.push(await swapWeights(server, full, signal));
    done.push(`loaded ${labelOf(full)}`);
  } else if (await server.isPaused({ signal })) {
    await resumeSurely(server); // whoever paused it held this lock, and is gone
    done.push('resumed');
  }
  const present = await server.models({ signal });
  for (const entry of own.filter(
    ({ delivery, version }) => delivery === 'adapter' && version.path !== null,
  )) {
    const loaded = present.find(({ id }) => id === entry.version.model);
    if (entry.state === 'retired') {
      if (loaded !== undefined && (await server.drained(entry.version.model, 0, { signal })))
        await server.unloadAdapter(entry.version.model, { signal });
    } else if (loaded === undefined) {
      await doubt(ledger, entry);
      done.push(await loadEntry(server, ledger, entry, signal));
    } else if (loaded.path !== entry.version.path) {
      throw permanentFailure(
        FAILURE_TYPES.wrongPolicy,
        `The policy server ${server.client.name} serves ${loaded.path ?? 'something else'} as ${entry.version.model}, not ${entry.version.path}.`,
      );
    }
  }
  return { done, paused };
}

/** Loads an adapter. One that a newer one has followed, and whose files are gone, is forgotten: nobody can have it any more. */
async function loadEntry(
  server: VllmServer,
  ledger: LockedLedger,
  entry: Entry,
  signal: AbortSignal,
): Promise<string> {
  const { model, path, version } = entry.version;
  try {
    await server.loadAdapter({ name: model, path: path as string }, { signal });
    return `loaded ${model}`;
  } catch (error) {
    const followed = ledger.entries.some(
      (one) => one.run === entry.run && one.state !== 'retired' && one.version.version > version,
    );
    if (!followed || !isType(error, FAILURE_TYPES.notFound)) throw error;
    await ledger.replace(ledger.entries.filter((one) => !sameVersion(one, entry.run, entry.version)));
    return `forgot ${model}, whose files are gone`;
  }
}

/** Not to be sampled from before it is proven again. */
async function doubt(ledger: LockedLedger, entry: Entry): Promise<void> {
  await ledger.replace(ledger.entries.map((one) => (one === entry ? { ...one, state: 'wanted' } : one)));
}

/**
 * Replaces all parameters while nothing is generated: requests under way end first, with the old ones, and new ones
 * wait. The server is resumed whatever happens.
 */
async function swapWeights(server: VllmServer, entry: Entry, signal: AbortSignal): Promise<Span> {
  const startedMs = Date.now();
  try {
    await server.pause('wait', { signal });
    await server.setWeightVersion(UNKNOWN_WEIGHTS, { signal }); // until all of them are in
    await server.reloadWeights(entry.version.path as string, { signal });
    await server.resetPrefixCache({ signal });
    await server.setWeightVersion(labelOf(entry), { signal });
  } finally {
    await resumeSurely(server);
  }
  return { startedMs, endedMs: Date.now() };
}

/** Not cancelled with the caller: a server that stays paused hangs everybody's requests, with health 200. */
async function resumeSurely(server: VllmServer): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await server.resume();
      return;
    } catch (error) {
      if (attempt === RESUME_TRIES || !isPassing(error)) throw error;
      await delay(200);
    }
  }
}

/**
 * Asks the server for the entry's probe and judges the answer; also whether its log-probabilities are those that are
 * trained on. Returns the label of the weights that it was asked on, too.
 */
export async function prove(
  server: VllmServer,
  entry: Entry,
  signal: AbortSignal,
): Promise<ProbeResult & { readonly label: string }> {
  const { tokenIds } = entry.probe;
  const { version } = entry.version;
  const model = entry.delivery === 'full' ? entry.servedModel : entry.version.model;
  if (!(await server.processesLogprobs(model, tokenIds[0] ?? 0, { signal }))) {
    throw permanentFailure(
      FAILURE_TYPES.badInput,
      `The policy server ${server.client.name} gives log-probabilities from before temperature and masks: start it with --logprobs-mode processed_logprobs.`,
    );
  }
  const label = await server.weightVersion({ signal });
  const served = await server.scoreTokens(model, tokenIds, { signal });
  const below =
    entry.delivery === 'adapter' && label !== 'default' ? ` on weights that were loaded as ${label}` : '';
  const what = `The policy server ${server.client.name}, asked for version ${version} of run ${entry.run} (${model}${below}),`;
  return { ...judgeProbe(what, served, entry.probe, entry.noise), label };
}
