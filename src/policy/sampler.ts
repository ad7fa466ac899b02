import { FAILURE_TYPES, infraFailure, permanentFailure } from '../domain/failures.ts';
import type { HealthBoard } from './choice.ts';
import { isPassing, isType } from './failures.ts';
import { fullEntry, standsOn, type Entry, type Ledgers } from './ledger.ts';
import { samplePlain } from './plainSampling.ts';
import { sampleTokens, type TokenAnswer } from './sampling.ts';
import type { PolicyServers, Sampled, SampleRequest } from './types.ts';
import type { VllmServer } from './vllm.ts';

/** Requests that a change of all parameters overtook, one after the other: changes are rarer than answers. */
const MAX_OVERTAKEN = 5;
const MAX_MENDS = 3;
/** A label seen so short a time ago is still that of the same process: none is up again so fast. */
const LABEL_MS = 2_000;
const WATCH_MS = 5_000;

interface SamplerDeps {
  readonly ledgers: Ledgers;
  readonly serverAt: (address: string) => VllmServer;
  readonly board: HealthBoard;
  /** Not cancelled with a caller: others wait for the same. */
  readonly mend: (address: string, run: string) => Promise<unknown>;
}

/** Labels of servers that were not paused, as this process saw them last. */
type Labels = Map<string, { readonly label: string; readonly atMs: number }>;
type VersionDeps = SamplerDeps & { readonly labels: Labels };

/** What a request is sent to. */
interface Target {
  readonly model: string;
  readonly version: number;
  /** Label of the server's weights while they are the version, or lie below its adapter. */
  readonly label: string;
}

/** `PolicyServers.sample`: the key's server first, the others where it fails. */
export function createSampler(deps: SamplerDeps): PolicyServers['sample'] {
  const labels: Labels = new Map();
  const mends = new Map<string, Promise<unknown>>();
  /** One at a time for each server and run in this process: all who wait have the same wish. */
  const mend = (address: string, run: string): Promise<unknown> => {
    const key = `${address} ${run}`;
    const running = mends.get(key) ?? deps.mend(address, run).finally(() => mends.delete(key));
    mends.set(key, running);
    return running;
  };
  return async (request, signal) => {
    const failures: unknown[] = [];
    for (const address of await deps.board.order(request.address.servers, request.key)) {
      try {
        return request.run === null
          ? await sampleAnywhere(deps.serverAt(address), address, request, signal)
          : await sampleVersion({ ...deps, mend, labels }, address, { ...request, run: request.run }, signal);
      } catch (error) {
        if (!isPassing(error) || signal.aborted) throw error;
        deps.board.failed(address);
        labels.delete(address);
        failures.push(error);
      }
    }
    const last = failures.at(-1) ?? infraFailure('There is no policy server to sample from.');
    // a training run's version comes back to a server that was restarted; outside of one a name is right or wrong
    if (
      request.run === null &&
      failures.length > 0 &&
      failures.every((one) => isType(one, FAILURE_TYPES.missingPolicy))
    )
      throw permanentFailure(
        FAILURE_TYPES.badInput,
        last instanceof Error ? last.message : 'there is no such model',
      );
    throw last;
  };
}

async function sampleAnywhere(
  server: VllmServer,
  address: string,
  request: SampleRequest,
  signal: AbortSignal,
): Promise<Sampled> {
  const startedMs = Date.now();
  const answer = await samplePlain(server.client, { ...request, model: request.address.model }, signal);
  return recorded(address, request, null, answer, startedMs);
}

/**
 * A version of a training run. An answer names its adapter and not the weights that it was sampled with, so their label
 * is looked at before (or a moment ago) and after. The same one twice means the same weights throughout, since it changes
 * while the server is paused; another one means that the answer is of the older or of the newer, and it is asked for again.
 */
async function sampleVersion(
  deps: VersionDeps,
  address: string,
  request: SampleRequest & { readonly run: string },
  signal: AbortSignal,
): Promise<Sampled> {
  const server = deps.serverAt(address);
  for (let overtaken = 0, mends = 0; overtaken < MAX_OVERTAKEN;) {
    const target = await targetAt(deps, address, request, signal);
    const startedMs = Date.now();
    const resumable = async (): Promise<void> => {
      if (await server.isPaused({ signal })) await deps.mend(address, request.run);
    };
    try {
      const answer = await watched(
        sampleTokens(server, { ...request, model: target.model }, resumable, signal),
        resumable,
      );
      const [label, { entries }] = await Promise.all([
        server.weightVersion({ signal }),
        deps.ledgers.read(address),
      ]);
      const entry = entries.find((one) => one.run === request.run && one.version.version === target.version);
      // retired meanwhile is no harm; loaded anew and not proven yet is
      if (label === target.label && entry?.state !== 'wanted') {
        deps.labels.set(address, { label, atMs: Date.now() });
        return recorded(address, request, target.version, answer, startedMs);
      }
      deps.labels.delete(address);
      overtaken += 1;
    } catch (error) {
      mends += 1;
      if (!isType(error, FAILURE_TYPES.missingPolicy) || mends > MAX_MENDS) throw error;
      await deps.mend(address, request.run); // it was restarted, and has forgotten its adapters
    }
  }
  throw infraFailure(
    `The policy server ${server.client.name} changed its weights during ${MAX_OVERTAKEN} answers in a row.`,
  );
}

/** A request to a server whose pauser has died would wait for ever: while it waits, that is looked for. */
async function watched<T>(answer: Promise<T>, resumable: () => Promise<void>): Promise<T> {
  const timer = setInterval(() => void resumable().catch(() => undefined), WATCH_MS);
  try {
    return await answer;
  } finally {
    clearInterval(timer);
  }
}

/** The version to sample from, once the server really serves it: waits for a change under way, and mends what was left. */
async function targetAt(
  deps: VersionDeps,
  address: string,
  request: SampleRequest & { readonly run: string },
  signal: AbortSignal,
): Promise<Target> {
  const server = deps.serverAt(address);
  for (let mends = 0; ; mends += 1) {
    const { entries } = await deps.ledgers.read(address);
    const entry = entryFor(server, entries, request);
    const label = await openLabel(deps, address, signal);
    if (entry.state === 'ready' && label !== null && standsOn(entry, label)) {
      const model = entry.delivery === 'full' ? entry.servedModel : entry.version.model;
      return { model, version: entry.version.version, label };
    }
    if (mends === MAX_MENDS)
      throw infraFailure(
        `The policy server ${server.client.name} does not get ready for run ${request.run}.`,
      );
    deps.labels.delete(address);
    await deps.mend(address, request.run);
  }
}

/** Label of a server's weights; null while it is paused. */
async function openLabel(deps: VersionDeps, address: string, signal: AbortSignal): Promise<string | null> {
  const seen = deps.labels.get(address);
  if (seen !== undefined && Date.now() - seen.atMs < LABEL_MS) return seen.label;
  const server = deps.serverAt(address);
  const [paused, label] = await Promise.all([server.isPaused({ signal }), server.weightVersion({ signal })]);
  if (paused) return null;
  deps.labels.set(address, { label, atMs: Date.now() });
  return label;
}

/** All parameters: what the server has. Adapters: the newest of the run, or the pinned one. */
function entryFor(
  server: VllmServer,
  entries: readonly Entry[],
  request: SampleRequest & { readonly run: string },
): Entry {
  const { address, run } = request;
  const own = entries.filter((entry) => entry.run === run && entry.state !== 'retired');
  const full = fullEntry(own);
  const newest = own
    .filter(({ state }) => state === 'ready')
    .toSorted((a, b) => b.version.version - a.version.version)[0];
  const pinned = own.find(({ version }) => version.version === address.version);
  const entry = full ?? (address.choice === 'latest' ? (newest ?? pinned) : pinned);
  if (entry !== undefined) return entry;
  const taken = fullEntry(entries);
  if (taken !== undefined && own.length === 0)
    throw permanentFailure(
      FAILURE_TYPES.wrongPolicy,
      `The policy server ${server.client.name} was taken over by run ${taken.run}.`,
    );
  throw infraFailure(
    `The policy server ${server.client.name} was never given version ${address.version ?? 'of any number'} of run ${run}, or has retired it.`,
    {
      type: FAILURE_TYPES.missingPolicy,
    },
  );
}

const recorded = (
  server: string,
  request: SampleRequest,
  version: number | null,
  answer: TokenAnswer,
  startedMs: number,
): Sampled => ({
  call: {
    schema: 1,
    server,
    model: answer.model,
    version,
    temperature: request.temperature,
    maxTokens: request.maxTokens,
    promptTokenIds: answer.promptTokenIds,
    choices: answer.choices,
    ...(answer.usage === undefined ? {} : { usage: answer.usage }),
    startedMs,
    endedMs: Date.now(),
  },
  toolCalls: answer.toolCalls,
});
