import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from '@temporalio/client';
import type { Logger } from 'pino';
import { createCampaignActivities } from '../activities/campaign.ts';
import { createDecisionActivities } from '../activities/decisions.ts';
import { createEnvironmentActivities } from '../activities/environment.ts';
import { createEvaluationActivities } from '../activities/evaluation.ts';
import { createJanitorActivities } from '../activities/janitor.ts';
import { createLabelActivities } from '../activities/labels.ts';
import { createMiningActivities } from '../activities/mining.ts';
import { createPublishActivities } from '../activities/publish.ts';
import { createEpisodes } from '../activities/episodes.ts';
import type { Episodes } from '../activities/episodes.ts';
import { createRolloutSampling } from '../activities/rollout.ts';
import { createRolloutGrading } from '../activities/rolloutGrade.ts';
import { createRolloutHost } from '../activities/rolloutHost.ts';
import { createRlControlActivities } from '../activities/rlControl.ts';
import { createRolloutsActivities } from '../activities/rollouts.ts';
import { createSandboxActivities } from '../activities/sandbox.ts';
import { DEFAULT_QUEUE_PREFIX } from '../domain/messages.ts';
import type { SourceSpec } from '../domain/sourceSpec.ts';
import { openWorkspace } from '../ecosystems/python/agentWorkspace.ts';
import { createPythonEnvironments } from '../ecosystems/python/environments.ts';
import { createPinnedFacts } from '../ecosystems/python/pinnedFacts.ts';
import type { PinnedFactsOf } from '../ecosystems/python/pinnedFacts.ts';
import { createPythonMutator } from '../ecosystems/python/mutate.ts';
import { createPreparedWorkspaces } from '../ecosystems/python/preparedWorkspaces.ts';
import { createPythonRunner } from '../ecosystems/python/run.ts';
import type { Ecosystem } from '../ecosystems/types.ts';
import { createEvaluator } from '../evaluation/evaluate.ts';
import type { Evaluator } from '../evaluation/evaluate.ts';
import { evalScript } from '../export/evalScript.ts';
import { pythonRunner } from '../export/pythonImages.ts';
import { createHeuristicLabeler } from '../labeling/heuristic.ts';
import { createLabeler } from '../labeling/spice.ts';
import type { Labeler } from '../labeling/types.ts';
import { createPolicyServers } from '../policy/servers.ts';
import type { PolicyServers } from '../policy/types.ts';
import { campaignReportWriter } from '../report/campaign.ts';
import { createBaseImages } from '../sandbox/baseImages.ts';
import { findRegistry } from '../sandbox/pulledBase.ts';
import { createDiskGate, withDiskWatch } from '../sandbox/disk.ts';
import { connectDocker, createDockerDriver } from '../sandbox/docker.ts';
import type { BaseImages, SandboxDriver } from '../sandbox/types.ts';
import { createMirrorStore } from '../sources/mirror.ts';
import type { SourceMirrorStore } from '../sources/mirror.ts';
import type { CandidateSource, MineLimits } from '../sources/types.ts';
import { createFsArtefactStore, createFsRecordStore } from '../store/fs.ts';
import type { GcDeps } from '../store/gc.ts';
import { createHostCache } from '../store/hostCache.ts';
import { createLeases } from '../store/leases.ts';
import type { Leases } from '../store/leases.ts';
import { createSweepGate } from '../store/sweepGate.ts';
import type { ArtefactStore, RecordStore } from '../store/types.ts';
import { createTrainingActivities } from '../activities/training.ts';
import { createHttpTrainer } from '../training/httpTrainer.ts';
import type { ActivitiesByRole } from '../workers/main.ts';
import { openEpisodesFor, processHost } from '../workers/options.ts';
import type { WorkerPlace } from '../workers/options.ts';
import { buildNetworkOf, discoverInstaller } from './installer.ts';
import type { Installer } from './installer.ts';
import type { Settings } from './settings.ts';
import { sourceOpener } from './sources.ts';
import type { State } from './state.ts';

/** Everything that activities are made from, wired to the real world. Commands use parts of it without a worker. */
export interface Dependencies {
  readonly state: State;
  readonly settings: Settings;
  readonly log: Logger;
  readonly installer: Installer;
  readonly store: ArtefactStore;
  readonly records: RecordStore;
  readonly mirrors: SourceMirrorStore;
  readonly pinned: PinnedFactsOf;
  /** Held while anything is made that is not in a record yet; activities hold one by themselves. */
  readonly leases: Leases;
  /** The gate before work that fills the disk. */
  readonly assertRoom: () => Promise<void>;
  readonly driver: SandboxDriver;
  readonly baseImages: BaseImages;
  readonly ecosystemFor: (runtimes: readonly string[] | null) => Ecosystem;
  readonly evaluator: Evaluator;
  readonly labeler: Labeler;
  /** Servers that rollouts sample from. */
  readonly policy: PolicyServers;
  /** Workspaces of agents that are open in this process; closed by whoever stops its workers. */
  readonly episodes: Episodes;
  readonly openSource: (source: SourceSpec, limits: MineLimits) => CandidateSource;
  /** Writes a campaign's HTML report and returns its path. */
  readonly writeReport: (campaign: string) => Promise<string>;
}

export interface DependencyOptions {
  readonly state: State;
  readonly settings: Settings;
  readonly log: Logger;
  /** One line for a person, on stderr: what is being made and why it takes long. */
  readonly say: (line: string) => void;
}

/**
 * Wires the real modules together: the only place where they meet. Asks the installer for the index; opens no
 * connection and starts no container. Throws one sentence when the settings and the host cannot go together.
 */
export async function createDependencies(options: DependencyOptions): Promise<Dependencies> {
  const { state, settings, log, say } = options;
  const docker = connectDocker();
  const [discovered, registry] = await Promise.all([
    discoverInstaller(),
    findRegistry(docker, settings.baseRegistry ?? undefined),
  ]);
  const installer = withSettings(discovered, settings);
  const driver = createDockerDriver({ log, buildNetwork: buildNetworkOf(installer) });
  const baseImages = createBaseImages({ docker, installer, registry, cacheDir: settings.cacheDir, log, say });
  const store = createFsArtefactStore(state.paths.artefacts);
  const records = createFsRecordStore(state.paths.records);
  const mirrors = createMirrorStore(state.paths.mirrors, { log });
  const cache = createHostCache({
    dir: state.paths.workspaces,
    maxBytes: settings.workspaceCacheBytes,
    log,
  });
  const workspaces = createPreparedWorkspaces({ cache, log });
  const pinned = createPinnedFacts({ store, mirrors, cache, log });
  const base = { driver, baseImages, store, records, mirrors, workspaces, pinned, log };
  const diskPlaces = diskPlacesOf(state, driver);
  const runPython = createPythonRunner(base);
  const ecosystemFor = (runtimes: readonly string[] | null): Ecosystem => ({
    ...createPythonEnvironments({ ...base, ...(runtimes === null ? {} : { runtimes }) }),
    run: async (plan, context) =>
      withDiskWatch(
        {
          places: [...(await diskPlaces()), tmpdir()],
          reserveBytes: Math.min(settings.diskFloorBytes, DISK_RESERVE),
        },
        () => runPython(plan, context),
        ({ outcome, exitCode }) => outcome === 'completed' && exitCode === 0,
      ),
  });
  return {
    state,
    settings,
    log,
    installer,
    store,
    records,
    mirrors,
    pinned,
    leases: createLeases(join(state.dir, 'leases'), createSweepGate(state.paths.artefacts)),
    assertRoom: createDiskGate({ floorBytes: settings.diskFloorBytes, places: diskPlaces, say }),
    driver,
    baseImages,
    ecosystemFor,
    evaluator: createEvaluator({ store, records, ecosystem: ecosystemFor(null), log }),
    labeler: labelerOf(settings, log),
    policy: createPolicyServers({
      directory: join(state.dir, 'policies'),
      ...(settings.openaiApiKey === null ? {} : { apiKey: settings.openaiApiKey.reveal() }),
      log,
    }),
    episodes: createEpisodes({ host: processHost(), max: openEpisodesOf(settings), log }),
    openSource: sourceOpener({
      settings,
      installer,
      store,
      mirrors,
      log,
      mutate: createPythonMutator({ driver, baseImages }),
    }),
    writeReport: campaignReportWriter({ stateDir: state.dir, installation: state.installation, ...base }),
  };
}

/** Activities of every role, from the dependencies and a client for asking workflows. */
export function createActivities(deps: Dependencies, client: Client): ActivitiesByRole {
  const { state, store, records, log } = deps;
  const { installation } = state;
  const shared = {
    ...deps,
    installation,
    stateDir: state.dir,
    runsDir: state.paths.runs,
    client,
    store,
    records,
    log,
  };
  const { samplePublished, ...janitor } = createJanitorActivities(shared);
  const { evaluatePrediction, writeEvaluationReports } = createEvaluationActivities({
    ...shared,
    evalScript: async (row) => evalScript(row, await pythonRunner(deps, row, '')),
  });
  const { openEpisode, ...host } = createRolloutHost({
    ...shared,
    openWorkspace: async (row, context) => openWorkspace(deps, row, context),
  });
  return {
    mining: createMiningActivities(shared),
    sandbox: {
      ...createSandboxActivities(shared),
      ...createRolloutGrading(shared),
      openEpisode,
      evaluatePrediction,
      ...janitor,
    },
    host,
    llm: { ...createLabelActivities(shared), ...createRolloutSampling(shared) },
    trainer: createTrainingActivities({
      ...shared,
      servers: deps.policy,
      trainer: (url) => createHttpTrainer({ url }),
    }),
    control: {
      ...createEnvironmentActivities(shared),
      ...createDecisionActivities(shared),
      ...createPublishActivities(shared),
      ...createCampaignActivities(shared),
      ...createRolloutsActivities(shared),
      ...createRlControlActivities(shared),
      writeEvaluationReports,
      samplePublished,
    },
  };
}

const DISK_RESERVE = 2 ** 29; // with less, a test that writes and a patch that is applied may fail for it

/** Where our files lie and where the daemon's lie: either may be the one that runs out. */
const diskPlacesOf = (state: State, driver: SandboxDriver): (() => Promise<readonly string[]>) => {
  let root: string | null = null;
  return async () => [state.dir, (root ??= (await driver.ping()).root)];
};

/** What `gc` needs of an installation. */
export const gcDeps = (deps: Dependencies): GcDeps => ({
  ...deps,
  installation: deps.state.installation,
  campaignsDir: deps.state.paths.campaigns,
  gate: createSweepGate(deps.state.paths.artefacts),
  image: () => anyBaseImage(deps.baseImages),
});

/** One that is there, else the first that can be had. */
async function anyBaseImage(baseImages: BaseImages): Promise<string> {
  const [there] = await baseImages.sizes();
  if (there !== undefined) return there.image;
  const [runtime] = baseImages.available();
  return baseImages.ensure(runtime?.base ?? '', runtime?.runtimeVersion ?? '', []);
}

/** Where this installation's workers work. */
export const workerPlace = (settings: Settings, namespace: string): WorkerPlace => ({
  queuePrefix: settings.queuePrefix ?? DEFAULT_QUEUE_PREFIX,
  namespace,
  sizing: {
    sandboxSlots: settings.sandboxSlots,
    miningPerSecond: null,
    openEpisodes: openEpisodesOf(settings),
    ...(settings.llmSlots === null ? {} : { llmSlots: settings.llmSlots }),
  },
});

const openEpisodesOf = ({ openEpisodes, sandboxSlots }: Settings): number =>
  openEpisodes ?? openEpisodesFor(sandboxSlots);

const withSettings = (installer: Installer, settings: Settings): Installer => ({
  ...installer,
  ...(settings.caBundle === null ? {} : { caBundle: settings.caBundle }),
  ...(settings.buildNetwork === null ? {} : { dockerNetwork: settings.buildNetwork }),
});

function labelerOf({ labelModel }: Settings, log: Logger): Labeler {
  if (labelModel === null) return createHeuristicLabeler();
  const { apiKey, ...rest } = labelModel;
  return createLabeler({
    log,
    settings: { ...rest, ...(apiKey === null ? {} : { apiKey: apiKey.reveal() }) },
  });
}
