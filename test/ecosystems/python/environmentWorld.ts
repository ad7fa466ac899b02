import { join } from 'node:path';
import { execa } from 'execa';
import { createPythonEnvironments } from '../../../src/ecosystems/python/environments.ts';
import type { PythonEnvironments } from '../../../src/ecosystems/python/environments.ts';
import type { WorkContext } from '../../../src/ecosystems/types.ts';
import type { Candidate, EnvironmentSpec, ResolveOutcome } from '../../../src/domain/types.ts';
import { SANDBOX_USERS } from '../../../src/sandbox/types.ts';
import type { SandboxDriver } from '../../../src/sandbox/types.ts';
import { createMirrorStore } from '../../../src/sources/mirror.ts';
import type { SourceMirrorStore } from '../../../src/sources/mirror.ts';
import { createFsArtefactStore, createFsRecordStore } from '../../../src/store/fs.ts';
import type { ArtefactStore, RecordStore } from '../../../src/store/types.ts';
import { testInstallation } from '../../support/docker.ts';
import type { TestInstallation } from '../../support/docker.ts';

/** An installation with everything that Python's environments need, on Python 3.11 alone. */
export interface EnvironmentWorld {
  readonly installation: TestInstallation;
  readonly store: ArtefactStore;
  readonly records: RecordStore;
  readonly mirrors: SourceMirrorStore;
  readonly environments: PythonEnvironments;
  readonly context: WorkContext;
  /** Environments over another driver, e.g. one without network. */
  over(driver: SandboxDriver): PythonEnvironments;
  /** A candidate whose base is these files. */
  candidate(
    name: string,
    files: Readonly<Record<string, string>>,
    overrides?: Partial<Candidate>,
  ): Promise<Candidate>;
  /** Spec of a lock, or of requirements' canonical lock text. */
  spec(lockText: string, overrides?: Partial<EnvironmentSpec>): Promise<EnvironmentSpec>;
  specOf(outcome: ResolveOutcome): Promise<EnvironmentSpec>;
  /** Runs a shell line as root in a container that sees the whole store. */
  inStore(line: string): Promise<string>;
  /** Runs Python with one environment at /env, without network; returns its output. */
  inEnvironment(key: string, code: string): Promise<string>;
}

export async function environmentWorld(): Promise<EnvironmentWorld> {
  const installation = await testInstallation();
  const { state, driver, baseImages, log } = installation;
  const store = createFsArtefactStore(state.paths.artefacts);
  const records = createFsRecordStore(state.paths.records);
  const mirrors = createMirrorStore(state.paths.mirrors, { log });
  const deps = { baseImages, store, records, mirrors, log, runtimes: ['3.11'] };
  const over = (other: SandboxDriver): PythonEnvironments =>
    createPythonEnvironments({ ...deps, driver: other });
  const context: WorkContext = {
    owner: { installation: installation.installation, host: 'test' },
    heartbeat: () => undefined,
    signal: new AbortController().signal,
  };
  const inContainer = async (
    mounts: Parameters<SandboxDriver['create']>[0]['mounts'],
    command: readonly string[],
  ): Promise<string> => {
    const sandbox = await driver.create({
      image: await installation.image(),
      owner: context.owner,
      network: 'none',
      limits: { memoryBytes: 1024 ** 3, pids: 128, cpus: 1 },
      mounts,
    });
    try {
      const result = await sandbox.exec(command, { user: SANDBOX_USERS.root, timeoutMs: 60_000 });
      if (result.exitCode !== 0)
        throw new Error(`exit ${result.exitCode}: ${result.output.toString('utf8')}`);
      return result.stdout.toString('utf8').trim();
    } finally {
      await sandbox.destroy();
    }
  };
  return {
    installation,
    store,
    records,
    mirrors,
    environments: over(driver),
    context,
    over,
    candidate: async (name, files, overrides = {}) => {
      const commit = await commitFiles(mirrors, `pypi__${name}`, files);
      const empty = await store.put('');
      return {
        ...CANDIDATE,
        instanceId: `pypi__${name}-1.0`,
        repo: `pypi/${name}`,
        mirror: `pypi__${name}`,
        baseCommit: commit,
        testCommit: commit,
        patch: empty,
        testPatch: empty,
        problemStatement: empty,
        ...overrides,
      };
    },
    spec: async (lockText, overrides = {}) => ({
      schema: 1,
      language: 'python',
      base: baseOf(installation),
      runtimeVersion: '3.11',
      systemPackages: [],
      lock: await store.put(lockText),
      pruneRules: '1',
      install: [],
      test: [],
      ...overrides,
    }),
    specOf: async (outcome) => {
      if (!outcome.ok) throw new Error(JSON.stringify(outcome.rejection));
      return store.getJson<EnvironmentSpec>(outcome.spec);
    },
    inStore: (line) => inContainer([{ kind: 'storeRoot', target: '/store' }], ['sh', '-c', line]),
    inEnvironment: (key, code) =>
      inContainer(
        [{ kind: 'store', subpath: `envs/${key}`, target: '/env', readOnly: true }],
        ['env', 'PYTHONPATH=/env', 'PYTHONDONTWRITEBYTECODE=1', 'python3', '-c', code],
      ),
  };
}

const CANDIDATE: Omit<
  Candidate,
  'instanceId' | 'repo' | 'mirror' | 'baseCommit' | 'testCommit' | 'patch' | 'testPatch' | 'problemStatement'
> = {
  schema: 1,
  source: 'pypi',
  language: 'python',
  version: '1.1',
  baseVersion: '1.0',
  createdAt: '2024-08-01T00:00:00Z',
  baseCreatedAt: '2024-05-15T00:00:00Z',
  testFiles: [],
  hintsText: null,
  license: null,
  provenance: {},
};

const baseOf = (installation: TestInstallation): string =>
  installation.baseImages.available().find((runtime) => runtime.runtimeVersion === '3.11')?.base ?? '';

async function commitFiles(
  mirrors: SourceMirrorStore,
  id: string,
  files: Readonly<Record<string, string>>,
): Promise<string> {
  const { gitDir } = await mirrors.create(id);
  const env = {
    GIT_DIR: gitDir,
    GIT_INDEX_FILE: join(gitDir, 'test-index'),
    GIT_AUTHOR_NAME: 'A',
    GIT_AUTHOR_EMAIL: 'a@example.org',
    GIT_COMMITTER_NAME: 'A',
    GIT_COMMITTER_EMAIL: 'a@example.org',
  };
  const git = async (args: readonly string[], input = ''): Promise<string> =>
    (await execa('git', args, { env, input })).stdout.trim();
  await git(['read-tree', '--empty']);
  for (const [path, content] of Object.entries(files)) {
    const blob = await git(['hash-object', '-w', '--stdin'], content);
    await git(['update-index', '--add', '--cacheinfo', `100644,${blob},${path}`]);
  }
  const commit = await git(['commit-tree', await git(['write-tree']), '-m', 'base']);
  await git(['update-ref', `refs/test/${commit}`, commit]);
  return commit;
}
