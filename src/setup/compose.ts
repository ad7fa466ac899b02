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
import { createSandboxActivities } from '../activities/sandbox.ts';
import { FAILURE_TYPES, permanentFailure } from '../domain/failures.ts';
import { DEFAULT_QUEUE_PREFIX } from '../domain/messages.ts';
import { sourceLabel } from '../domain/sourceSpec.ts';
import type { SourceSpec } from '../domain/sourceSpec.ts';
import { createPythonEnvironments } from '../ecosystems/python/environments.ts';
import { createPinnedFacts } from '../ecosystems/python/pinnedFacts.ts';
import type { PinnedFactsOf } from '../ecosystems/python/pinnedFacts.ts';
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
import { campaignReportWriter } from '../report/campaign.ts';
import { createBaseImages } from '../sandbox/baseImages.ts';
import { findRegistry } from '../sandbox/pulledBase.ts';
import { createDiskGate, withDiskWatch } from '../sandbox/disk.ts';
import { connectDocker, createDockerDriver } from '../sandbox/docker.ts';
import type { BaseImages, SandboxDriver } from '../sandbox/types.ts';
import { createGitSource } from '../sources/git.ts';
import { createGithubSource } from '../sources/github.ts';
import { createMirrorStore } from '../sources/mirror.ts';
import type { SourceMirrorStore } from '../sources/mirror.ts';
import { createPypiSource } from '../sources/pypi.ts';
import type { CandidateSource, MineLimits } from '../sources/types.ts';
import { createFsArtefactStore, createFsRecordStore } from '../store/fs.ts';
import type { GcDeps } from '../store/gc.ts';
import { createHostCache } from '../store/hostCache.ts';
import { createLeases } from '../store/leases.ts';
import type { Leases } from '../store/leases.ts';
import { createSweepGate } from '../store/sweepGate.ts';
import type { ArtefactStore, RecordStore } from '../store/types.ts';
import type { ActivitiesByRole } from '../workers/main.ts';
import type { WorkerPlace } from '../workers/options.ts';
import { buildNetworkOf, discoverInstaller, noIndexSentence } from './installer.ts';
import type { Installer } from './installer.ts';
import type { Settings } from './settings.ts';
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
    openSource: sourceOpener({ settings, installer, store, mirrors, log }),
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
  return {
    mining: createMiningActivities(shared),
    sandbox: { ...createSandboxActivities(shared), evaluatePrediction, ...janitor },
    llm: createLabelActivities(shared),
    control: {
      ...createEnvironmentActivities(shared),
      ...createDecisionActivities(shared),
      ...createPublishActivities(shared),
      ...createCampaignActivities(shared),
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
  sizing: { sandboxSlots: settings.sandboxSlots, miningPerSecond: null },
});

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

/** Sources are kept open by what makes them, so that pages of one source share one index and one token pool. */
function sourceOpener(
  deps: Pick<Dependencies, 'settings' | 'installer' | 'store' | 'mirrors' | 'log'>,
): Dependencies['openSource'] {
  const open = new Map<string, CandidateSource>();
  return (source, limits) => {
    const key = JSON.stringify([source, limits]);
    const known = open.get(key) ?? openSource(deps, source, limits);
    open.set(key, known);
    return known;
  };
}

function openSource(
  deps: Pick<Dependencies, 'settings' | 'installer' | 'store' | 'mirrors' | 'log'>,
  source: SourceSpec,
  limits: MineLimits,
): CandidateSource {
  const { settings, installer, store, mirrors } = deps;
  const log = deps.log.child({ source: sourceLabel(source) });
  const common = { store, mirrors, limits, log };
  if ('pypi' in source) {
    if (installer.indexUrl === null) throw permanentFailure(FAILURE_TYPES.badInput, noIndexSentence);
    const indexUrls = [installer.indexUrl, ...installer.extraIndexUrls];
    return createPypiSource({ ...common, name: source.pypi, indexUrls, cacheDir: settings.cacheDir });
  }
  if ('github' in source) {
    const { tokens, apiUrl } = settings.github;
    return createGithubSource({
      ...common,
      repo: source.github,
      tokens: tokens.map((token) => token.reveal()),
      ...(apiUrl === null ? {} : { baseUrl: apiUrl }),
    });
  }
  const [owner, name] = source.name?.split('/') ?? [];
  return createGitSource({
    ...common,
    url: source.git,
    ...(owner === undefined || name === undefined ? {} : { owner, name }),
  });
}
