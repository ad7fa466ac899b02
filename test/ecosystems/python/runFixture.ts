/** A small made project in a mirror of its own, resolved, realised, and ready for runs. */
import { join } from 'node:path';
import { openWorkspace } from '../../../src/ecosystems/python/agentWorkspace.ts';
import type { AgentWorkspace } from '../../../src/ecosystems/python/agentWorkspace.ts';
import { createPythonEcosystem } from '../../../src/ecosystems/python/index.ts';
import type { WorkContext } from '../../../src/ecosystems/types.ts';
import { createMirrorStore } from '../../../src/sources/mirror.ts';
import type { SourceMirror } from '../../../src/sources/mirror.ts';
import { createFsArtefactStore, createFsRecordStore } from '../../../src/store/fs.ts';
import type { ArtefactStore, RecordStore } from '../../../src/store/types.ts';
import { DEFAULT_RUN_LIMITS } from '../../../src/domain/runs.ts';
import type { ArtefactRef, Candidate, EnvironmentSpec } from '../../../src/domain/types.ts';
import type { PlantedCanary, RunPlan, RunRecord } from '../../../src/domain/runs.ts';
import { makeRow } from '../../evaluation/rows.ts';
import { hostParts } from '../../support/hostParts.ts';
import { writeTree } from '../../support/gitFixture.ts';
import type { FixtureFile } from '../../support/gitFixture.ts';
import type { TestInstallation } from '../../support/docker.ts';

type Files = Readonly<Record<string, FixtureFile>>;
/** null: the file is deleted. */
type Changes = Readonly<Record<string, FixtureFile | null>>;

const PYPROJECT = `[build-system]
requires = ["setuptools>=64"]
build-backend = "setuptools.build_meta"
[project]
name = "calcx"
version = "1.0"
requires-python = ">=3.11,<3.12"
[project.optional-dependencies]
test = ["pytest"]
[tool.pytest.ini_options]
addopts = "-ra --cov=calcx -n 2 --strict-markers"
testpaths = ["tests"]
`;

const OLD_TESTS = `import unittest

import pytest

import calcx


def test_mul():
    assert calcx.mul(2, 3) == 6
    assert calcx.mul(2, 0) == 0


def test_neg():
    result = calcx.neg(4)
    assert result == -4


@pytest.mark.parametrize("word", ["a b", "c::d", "[e]"])
def test_echo(word):
    assert calcx.echo(word) == word


class EchoTest(unittest.TestCase):
    def test_none(self):
        self.assertIsNone(calcx.echo(None))
`;

const NEW_TESTS = `${OLD_TESTS}

@pytest.mark.parametrize("left, right", [(1, 2), (3, 4)], ids=["one and two", "three/four"])
def test_add(left, right):
    assert calcx.add(left, right) == left + right
`;

export const SOURCE = `def add(a, b):
    return a - b


def mul(a, b):
    return a * b


def neg(a):
    return -a


def echo(value):
    return value
`;
export const FIXED = SOURCE.replace('a - b', 'a + b');
const WINDOWS = 'LINES = 1\r\nENDS = 2\r\nKEPT = 3\r\n';

const BASE: Files = {
  'pyproject.toml': PYPROJECT,
  // as version tools do: the install rewrites a tracked file
  'setup.py':
    'from pathlib import Path\nfrom setuptools import setup\n\nPath("src/calcx/made.py").write_text("MADE = True\\n")\nsetup()\n',
  'src/calcx/made.py': 'MADE = False\n',
  'src/calcx/extra/words.py': 'WORDS = ()\n',
  'src/calcx/note': 'a file',
  'src/calcx/__init__.py': SOURCE,
  'src/calcx/windows.py': WINDOWS,
  'src/calcx/link.txt': { link: 'windows.py' },
  'tests/test_calcx.py': OLD_TESTS,
  'tests/test_windows.py':
    'from calcx import made, windows\n\n\ndef test_kept():\n    assert windows.KEPT == 3\n\n\ndef test_made():\n    assert made.MADE\n',
  'tests/conftest.py': 'import pytest\n',
  '.gitattributes': '*.py text eol=lf\nsecret.txt export-ignore\n',
  'secret.txt': 'not lost in the archive',
};

export const SCOPE = ['tests/test_calcx.py', 'tests/test_windows.py'] as const;
export const F2P = [
  'tests/test_calcx.py::test_add[one and two]',
  'tests/test_calcx.py::test_add[three/four]',
];

export interface RunFixture {
  readonly store: ArtefactStore;
  readonly records: RecordStore;
  readonly mirror: SourceMirror;
  readonly candidate: Candidate;
  /** Diff of the base against the base with these changes. */
  patch(changes: Changes): Promise<ArtefactRef>;
  run(plan: Partial<RunPlan>): Promise<RunRecord>;
  plant(canaries: readonly PlantedCanary[]): Promise<ArtefactRef>;
  /** The workspace that an agent would get. */
  openWorkspace(): Promise<AgentWorkspace>;
}

export async function makeRunFixture(installation: TestInstallation): Promise<RunFixture> {
  const { driver, baseImages, log, stateDir } = installation;
  const store = createFsArtefactStore(join(stateDir, 'artefacts'));
  const records = createFsRecordStore(join(stateDir, 'records'));
  const mirrors = createMirrorStore(join(stateDir, 'mirrors'), { log });
  const mirror = await mirrors.create('calcx');
  await driver.ensureStoreVolume(installation.installation);
  const parts = hostParts({ store, mirrors, stateDir, log });
  const ecosystem = createPythonEcosystem({ driver, baseImages, store, records, mirrors, log, ...parts });
  const context: WorkContext = {
    owner: { installation: installation.installation, host: 'test' },
    heartbeat: () => undefined,
    signal: new AbortController().signal,
  };
  const baseCommit = await writeTree(mirror.gitDir, BASE, 'refs/heads/base');
  const patchOf = async (changes: Changes): Promise<ArtefactRef> => {
    const files = Object.entries({ ...BASE, ...changes }).flatMap(([path, file]) =>
      file === null ? [] : [[path, file] as const],
    );
    const head = await writeTree(mirror.gitDir, Object.fromEntries(files), 'refs/heads/patched');
    return store.put(await mirror.diff(baseCommit, head, Object.keys(changes)));
  };
  const tests = { 'tests/test_calcx.py': NEW_TESTS };
  const candidate: Candidate = {
    schema: 1,
    instanceId: 'test__calcx-1',
    source: 'git',
    repo: 'test/calcx',
    language: 'python',
    mirror: 'calcx',
    baseCommit,
    testCommit: await writeTree(mirror.gitDir, { ...BASE, ...tests }, 'refs/heads/tests'),
    version: '1.1',
    baseVersion: '1.0',
    createdAt: '2024-06-15T00:00:00Z',
    baseCreatedAt: '2024-05-15T00:00:00Z',
    patch: await patchOf({ 'src/calcx/__init__.py': FIXED }),
    testPatch: await patchOf(tests),
    testFiles: ['tests/test_calcx.py'],
    problemStatement: await store.put('add subtracts'),
    hintsText: null,
    license: null,
    provenance: {},
  };
  const resolved = await ecosystem.resolve(candidate, 'quarter', context);
  if (!resolved.ok) throw new Error(`The fixture does not resolve: ${resolved.rejection.detail}`);
  const realised = await ecosystem.realise(
    await store.getJson<EnvironmentSpec>(resolved.spec),
    'pruned',
    context,
  );
  if (!realised.ok) throw new Error(`The fixture's environment cannot be made: ${realised.rejection.detail}`);
  const candidateRef = await store.putJson(candidate);
  return {
    store,
    records,
    mirror,
    candidate,
    patch: patchOf,
    plant: (canaries) => store.putJson(canaries),
    openWorkspace: () => {
      const { environment, ...rest } = makeRow({ candidate: candidateRef, environment_spec: resolved.spec });
      const row = { ...rest, environment: { ...environment, key: resolved.key } };
      return openWorkspace({ driver, baseImages, store, pinned: parts.pinned }, row, context);
    },
    run: (plan) =>
      ecosystem.run(
        {
          kind: 'evaluate',
          candidate: candidateRef,
          environment: resolved.key,
          spec: resolved.spec,
          variant: 'pruned',
          withTestPatch: true,
          patch: null,
          scope: SCOPE,
          limits: { ...DEFAULT_RUN_LIMITS, timeoutMs: 120_000 },
          makeCanaryPoolOf: null,
          canaries: null,
          ...plan,
        },
        context,
      ),
  };
}
