import { Context } from '@temporalio/activity';
import { FAILURE_TYPES, permanentFailure } from '../domain/failures.ts';
import { recordNames } from '../domain/records.ts';
import type { PublishedVersion } from '../domain/rl/messages.ts';
import type { RlManifest } from '../domain/rl/options.ts';
import type { TrainingBatch, TrainingSample } from '../domain/rl/training.ts';
import type { PolicyServers } from '../policy/types.ts';
import type { ArtefactStore, RecordStore } from '../store/types.ts';
import { trainStep, withOpenRun } from '../training/trainStep.ts';
import { trainerConfigOf } from '../training/types.ts';
import type { TrainerBackend } from '../training/types.ts';
import { noteProgress } from './heartbeat.ts';
import type { RlRequest, TrainerActivities } from './rlTypes.ts';

export interface TrainingDeps {
  readonly store: ArtefactStore;
  readonly records: RecordStore;
  readonly servers: PolicyServers;
  /** The trainer at an address. */
  readonly trainer: (url: string) => TrainerBackend;
}

/** What the probe reads: words of every kind of token that a policy meets. */
const PROBE_TEXT =
  'diff --git a/src/example.py b/src/example.py\n-    return max(low, value)\n+    return min(high, max(low, value))\n\nWhich patch solves it?';
const PROBE_TOKENS = 64; // enough that two versions differ somewhere, few enough to cost nothing

/** Log-probabilities of the probe under a version, recorded when it was published: the trainer is further by the time it is deployed. */
interface RecordedProbe {
  readonly tokenIds: readonly number[];
  readonly logprobs: readonly number[];
}

/** Steps of the trainer, and the way of its versions onto the servers. Each is safe to repeat. */
export function createTrainingActivities(deps: TrainingDeps): TrainerActivities {
  const { store, records, servers } = deps;
  const open = async (request: RlRequest) => {
    const manifest = await store.getJson<RlManifest>(request.manifest);
    const { cancellationSignal: signal } = Context.current();
    const backend = deps.trainer(manifest.trainer);
    const config = trainerConfigOf(request.options, manifest.model);
    return { manifest, backend, config, signal };
  };
  return {
    async openTraining(request) {
      const { manifest, backend, config, signal } = await open(request);
      const { run } = request;
      const { step, incarnation, versions } = await backend.createModel({ run, config, signal });
      await requireOwnTrainer(records, { run, step, trainer: manifest.trainer });
      await servers.mend(run, manifest.servers, signal);
      const held = (await servers.held(run, manifest.servers)).filter(({ version }) => version !== step);
      const left = versions
        .filter((version) => version !== step && held.every((one) => one.version !== version))
        .map((version) => ({ version, model: `${run}-v${version}`, path: null, sha256: null }));
      return { step, incarnation, held, left };
    },
    async trainStep(request) {
      const { manifest, backend, config, signal } = await open(request);
      const context = Context.current();
      // whatever cut the attempt before may have left servers paused
      if (context.info.attempt > 1) await servers.mend(request.run, manifest.servers, signal);
      const { options, run, step } = request;
      const startedMs = Date.now();
      const { metrics } = await trainStep(backend, {
        run,
        config,
        step,
        batch: await store.getJson<TrainingBatch>(request.batch),
        epochs: options.epochs,
        learningRate: options.learningRate,
        loss: { name: 'clipped_ratio', ...options.loss },
        samplesPerPart: options.samplesPerPart,
        signal,
        onProgress: (done) => noteProgress(context, done),
      });
      return { metrics, busy: { startedMs, endedMs: Date.now() } };
    },
    async publishVersion(request) {
      const { manifest, backend, config, signal } = await open(request);
      const { run, step, options } = request;
      const adapter = options.lora !== null;
      const version = await withOpenRun(backend, { run, config, signal }, async () => {
        await recordProbe(records, backend, request, signal);
        // an adapter that was not trained changes nothing: servers have version 0 already
        return adapter && step === 0 ? null : backend.publish({ run, step, signal });
      });
      if (version === null) return { version: 0, model: manifest.servedModel, path: null, sha256: null };
      const { name, path, sha256 } = version;
      return { version: step, model: adapter ? name : manifest.servedModel, path, sha256 };
    },
    async deployVersion({ version, previous, ...request }) {
      const { manifest, signal } = await open(request);
      const [expected, before] = await Promise.all([
        readProbe(records, request.run, version),
        previous === null ? null : readProbe(records, request.run, previous),
      ]);
      return servers.deploy(
        {
          run: request.run,
          servers: manifest.servers,
          delivery: request.options.lora === null ? 'full' : 'adapter',
          servedModel: manifest.servedModel,
          version,
          probe: {
            tokenIds: expected.tokenIds,
            expected: expected.logprobs,
            previous: before?.logprobs ?? null,
          },
          ...(request.options.dtype === 'float32' ? {} : { noise: BF16_NOISE }),
        },
        signal,
      );
    },
    async retireVersions({ unload, remove, ...request }) {
      const { manifest, backend, config, signal } = await open(request);
      const { run } = request;
      const retired = await servers.retire({ run, servers: manifest.servers, unload, remove }, signal);
      const removable = remove.filter(({ version }) => retired.removable.includes(version));
      await withOpenRun(backend, { run, config, signal }, async () => {
        for (const { version } of removable) await backend.removeVersion({ run, step: version, signal });
      });
      return { unloaded: retired.unloaded, removed: removable.map(({ version }) => version) };
    },
  };
}

/**
 * The log is at the trainer's step, or one behind where a kill came between the two. Anything else is another trainer, one
 * that lost its directory, or another installation's run of this name: going on would mix two runs in one curve.
 */
async function requireOwnTrainer(
  records: RecordStore,
  { run, step, trainer }: { readonly run: string; readonly step: number; readonly trainer: string },
): Promise<void> {
  const last = (await records.list(recordNames.rlSteps(run))).at(-1);
  const recorded = last === undefined ? 0 : Number(last.split('/').at(-1));
  if (step === recorded || step === recorded + 1) return;
  throw permanentFailure(
    FAILURE_TYPES.badInput,
    step < recorded
      ? `The log of the training run "${run}" is at step ${recorded}, but the trainer at ${trainer} has it at step ${step}: it is another trainer, or its directory was lost. Bring that back, or give the run another name.`
      : `The trainer at ${trainer} has a training run "${run}" at step ${step}, but the log here is at step ${recorded}: it is another installation's run, or its log was dropped. Give this one another name.`,
  );
}

const BF16_NOISE = 0.05; // largest difference seen between bf16 and fp32 on one model was 0.028

async function recordProbe(
  records: RecordStore,
  backend: TrainerBackend,
  { run, step }: { readonly run: string; readonly step: number },
  signal: AbortSignal,
): Promise<void> {
  const name = recordNames.rlProbe(run, step);
  if ((await records.read<RecordedProbe>(name)) !== null) return;
  const conversation = [{ role: 'user', content: PROBE_TEXT }];
  const [rendered = []] = await backend.render({ run, conversations: [conversation], signal });
  const tokenIds = rendered.slice(0, PROBE_TOKENS);
  const [logprobs = []] = await backend.forward({ run, samples: [probeSample(tokenIds)], signal });
  await records.record<RecordedProbe>(name, { tokenIds, logprobs });
}

/** Every token after the first is a target. */
const probeSample = (tokenIds: readonly number[]): TrainingSample => ({
  sampleId: 'probe',
  tokenIds,
  positions: tokenIds.slice(1).map((_token, index) => index + 1),
  logprobs: tokenIds.slice(1).map(() => 0),
  advantage: 0,
  weight: 0,
  temperature: 1,
  oldestVersion: 0,
  newestVersion: 0,
});

async function readProbe(
  records: RecordStore,
  run: string,
  { version }: PublishedVersion,
): Promise<RecordedProbe> {
  const probe = await records.read<RecordedProbe>(recordNames.rlProbe(run, version));
  if (probe === null) throw new Error(`version ${version} of ${run} was published without a probe`);
  return probe;
}
