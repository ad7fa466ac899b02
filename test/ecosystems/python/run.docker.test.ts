import { readdir, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { proveCanaries } from '../../../src/domain/canaries.ts';
import { plantWholePool } from '../../../src/domain/canaryPlanting.ts';
import { gradeRun } from '../../../src/domain/grading.ts';
import { DEFAULT_RUN_LIMITS } from '../../../src/domain/runs.ts';
import type { Canary, PlantedCanary, RunPlan, RunRecord } from '../../../src/domain/runs.ts';
import type { Grade } from '../../../src/domain/verdicts.ts';
import { parseSavedRun } from '../../../src/ecosystems/python/regrade.ts';
import { testInstallation } from '../../support/docker.ts';
import type { TestInstallation } from '../../support/docker.ts';
import { F2P, FIXED, SCOPE, SOURCE, makeRunFixture } from './runFixture.ts';
import type { RunFixture } from './runFixture.ts';

let installation: TestInstallation;
let fixture: RunFixture;
let after: RunRecord;
let planted: readonly PlantedCanary[];
const P2P = [
  'tests/test_calcx.py::test_mul',
  'tests/test_calcx.py::test_neg',
  'tests/test_calcx.py::test_echo[a b]',
  'tests/test_calcx.py::test_echo[c::d]',
  'tests/test_calcx.py::test_echo[[e]]',
  'tests/test_calcx.py::EchoTest::test_none',
  'tests/test_windows.py::test_kept',
  'tests/test_windows.py::test_made',
];

beforeAll(async () => {
  installation = await testInstallation();
  fixture = await makeRunFixture(installation);
  after = await fixture.run({ kind: 'after', patch: fixture.candidate.patch, makeCanaryPoolOf: SCOPE });
  const pool =
    after.canaryPool === null ? [] : await fixture.store.getJson<readonly Canary[]>(after.canaryPool);
  planted = plantWholePool(pool);
});
afterAll(async () => installation?.cleanup());

const limits = (more: Partial<RunPlan['limits']>): RunPlan['limits'] => ({ ...DEFAULT_RUN_LIMITS, ...more });

/** Runs a prediction that puts this text into the package, with every canary planted, and grades it. */
async function evaluate(
  init: string,
  plan: Partial<RunPlan> = {},
): Promise<{ readonly record: RunRecord; readonly grade: Grade }> {
  const patch = await fixture.patch({ 'src/calcx/__init__.py': init });
  return gradeOf(await fixture.run({ patch, canaries: await fixture.plant(planted), ...plan }));
}
const gradeOf = (record: RunRecord) => ({
  record,
  grade: gradeRun({ failToPass: F2P, passToPass: P2P, record, planted }),
});
const logOf = async (record: RunRecord): Promise<string> =>
  record.log === null ? '' : fixture.store.getText(record.log);
const leftovers = async (): Promise<number> => {
  await installation.driver.settled();
  return (await installation.driver.list(installation.installation)).length;
};

test('the health run finds the base tests under their exact ids, whatever addopts ask of absent plugins', async () => {
  const health = await fixture.run({ kind: 'health', withTestPatch: false, scope: null });
  expect(health).toMatchObject({ outcome: 'completed', exitCode: 0, collectionErrors: [], note: '' });
  expect(Object.keys(health.tests).sort()).toEqual([...P2P].sort());
});

test('gold passes what it should, its canaries are made and proven, and a saved run reads the same', async () => {
  expect(after.outcome).toBe('completed');
  expect(gradeRun({ failToPass: F2P, passToPass: P2P, record: after, planted: [] }).resolved).toBe(1);
  expect(planted.map(({ canary }) => canary.twin)).toContain('tests/test_calcx.py::EchoTest::test_none');
  const { record, grade } = await evaluate(FIXED);
  expect(grade).toMatchObject({ verdict: { verdict: 'resolved' }, graded: 1, commandResolved: 1 });
  const beforeWithPool = await fixture.run({ canaries: await fixture.plant(planted) });
  expect(proveCanaries({ after, beforeWithPool, afterWithPool: record, planted }).length).toBe(
    planted.length,
  );
  const saved = parseSavedRun(await logOf(record), await fixture.store.getText(record.junit!), planted);
  expect(saved?.tests).toEqual(record.tests);
});

test('the unchanged base scores 0 and its canaries do not accuse it', async () => {
  const { grade } = gradeOf(await fixture.run({ canaries: await fixture.plant(planted) }));
  expect(grade).toMatchObject({ verdict: { verdict: 'unresolved', reason: 'tests' }, graded: 0 });
  expect(grade.passToPass.failure).toEqual([]);
});

const HOOK = `
import pytest
@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    report.outcome = "passed"
    return report
`;

test('a prediction cannot edit tests, conftest or the runner configuration', async () => {
  const patch = await fixture.patch({
    'tests/conftest.py': HOOK,
    'conftest.py': HOOK,
    'tests/test_calcx.py': 'def test_add(): pass\n',
    'pytest.ini': '[pytest]\naddopts = --co\n',
  });
  const { record, grade } = gradeOf(await fixture.run({ patch, canaries: await fixture.plant(planted) }));
  expect(record.droppedPaths).toEqual([
    'conftest.py',
    'pytest.ini',
    'tests/conftest.py',
    'tests/test_calcx.py',
  ]);
  expect(record.note).toContain('nothing was left of it');
  expect(grade.verdict).toEqual({ verdict: 'unresolved', reason: 'tests' });
});

test('runner tables of a mixed file are pinned, while the rest of the file is the prediction’s', async () => {
  const text = (await fixture.mirror.readFile(fixture.candidate.baseCommit, 'pyproject.toml'))!.toString();
  const patch = await fixture.patch({
    'pyproject.toml': text.replace('addopts = "', 'python_functions = ["nothing"]\naddopts = "--co '),
  });
  const { record, grade } = gradeOf(await fixture.run({ patch, canaries: await fixture.plant(planted) }));
  expect(record.droppedPaths).toEqual([]);
  expect(grade.passToPass.failure).toEqual([]);
});

const FORGED_REPORTS = `${SOURCE}
import sys

if "pytest" in sys.modules:
    from _pytest.reports import TestReport

    real = TestReport.from_item_and_call.__func__

    def forged(cls, item, call):
        report = real(cls, item, call)
        if report.outcome == "failed":
            report.outcome, report.longrepr = "passed", None
        return report

    TestReport.from_item_and_call = classmethod(forged)
`;
const FORGED_CODE = `${FIXED}
import sys

if "pytest" in sys.modules:
    import _pytest.main

    _pytest.main.Session.testsfailed = property(lambda self: 0, lambda self, value: None)
`;

test('source that turns failures into passes is tampered, and scores 0', async () => {
  const { record, grade } = await evaluate(FORGED_REPORTS);
  expect(record.exitCode).toBe(0);
  expect(grade).toMatchObject({
    verdict: { verdict: 'tampered', reason: 'canary_passed' },
    resolved: 0,
    graded: 0,
    commandResolved: 0,
  });
  // Without canaries text, code and results file would agree that all is well.
  expect(gradeRun({ failToPass: F2P, passToPass: P2P, record, planted: [] }).resolved).toBe(1);
});

test('source that forges the exit code alone is tampered', async () => {
  const { grade } = await evaluate(FORGED_CODE);
  expect(grade.verdict).toEqual({ verdict: 'tampered', reason: 'exit_code' });
});

test('source that ends the interpreter with success at import is a crash, not resolved and not tampered', async () => {
  const { record, grade } = await evaluate(`import os\nos._exit(0)\n${FIXED}`);
  expect(record.outcome).toBe('crashed');
  expect(grade.verdict).toEqual({ verdict: 'unresolved', reason: 'crash' });
});

test('source that cannot be imported is unresolved by its tests', async () => {
  const { record, grade } = await evaluate(`${FIXED}\nraise RuntimeError("boom")\n`);
  expect(record.collectionErrors.map(({ file }) => file).sort()).toEqual([...SCOPE]);
  expect(record.collectionErrors[0]?.message).toBe('RuntimeError: boom');
  expect(grade.verdict).toEqual({ verdict: 'unresolved', reason: 'tests' });
});

test('a hang is a timeout: the partial log is kept and nothing is left running', async () => {
  const hang = `${FIXED.replace('return a * b', 'print("about to hang", flush=True)\n    import time, os\n    os.fork()\n    time.sleep(3600)')}`;
  const { record, grade } = await evaluate(hang, { limits: limits({ timeoutMs: 10_000 }) });
  expect(record).toMatchObject({ outcome: 'timeout', exitCode: null });
  expect(grade.verdict).toEqual({ verdict: 'timeout' });
  expect(await logOf(record)).toContain('test session starts');
  expect(await leftovers()).toBe(0);
});

test('eating memory is unresolved for memory, not infrastructure', async () => {
  const hog = FIXED.replace(
    'return a * b',
    'held = [bytearray(64 << 20) for _ in range(64)]\n    return a * b',
  );
  const { record, grade } = await evaluate(hog, { limits: limits({ memoryBytes: 512 * 1024 ** 2 }) });
  expect(record.outcome).toBe('memory');
  expect(grade.verdict).toEqual({ verdict: 'unresolved', reason: 'memory' });
});

test('a flood of output is capped and counted, and the verdict stands', async () => {
  const flood = FIXED.replace(
    'return a * b',
    'import os\n    os.write(2, b"x" * (8 << 20))\n    return a * b',
  );
  const { record, grade } = await evaluate(flood, { limits: limits({ outputBytes: 256 * 1024 }) });
  expect(grade.verdict).toEqual({ verdict: 'resolved' });
  const log = await logOf(record);
  expect(log.length).toBeLessThan(400_000);
  expect(log).toMatch(/"droppedBytes":[1-9]/);
});

test('forking without end is contained and graded', async () => {
  const bomb = FIXED.replace('return a * b', 'import os\n    while True:\n        os.fork()');
  const { record, grade } = await evaluate(bomb, { limits: limits({ pids: 64, timeoutMs: 10_000 }) });
  expect(['timeout', 'crashed', 'completed', 'memory']).toContain(record.outcome);
  expect(grade.resolved).toBe(0);
  expect(await leftovers()).toBe(0);
});

test('an empty patch and one that does not apply have verdicts of their own', async () => {
  const empty = gradeOf(await fixture.run({ patch: await fixture.store.put('\n') }));
  expect(empty.grade.verdict).toEqual({ verdict: 'empty_patch' });
  const broken = await fixture.store.put(
    '--- a/src/calcx/__init__.py\n+++ b/src/calcx/__init__.py\n@@ -1 +1 @@\n-nothing\n+x\n',
  );
  const failed = gradeOf(await fixture.run({ patch: broken }));
  expect(failed.grade.verdict).toEqual({ verdict: 'patch_failed' });
  expect(failed.record.note).toContain('does not apply');
});

test('a file with carriage returns is patched, and base tree and links are byte for byte the commit’s', async () => {
  const patch = await fixture.patch({
    'src/calcx/__init__.py': FIXED,
    'src/calcx/windows.py': 'LINES = 1\r\nENDS = 22\r\nKEPT = 3\r\n',
  });
  const { grade } = gradeOf(await fixture.run({ patch, canaries: await fixture.plant(planted) }));
  expect(grade.verdict).toEqual({ verdict: 'resolved' });
});

test('a patch of the packaging is installed apart: its build cannot reach the tests', async () => {
  const evil = `
import pathlib, sys
from setuptools import setup
pathlib.Path("tests/conftest.py").write_text('''${HOOK}''')
pathlib.Path("conftest.py").write_text('''${HOOK}''')
pathlib.Path("src/calcx/built.py").write_text("built = True")
pathlib.Path("src/calcx/made.py").write_text("MADE = True")
setup()
`;
  const patch = await fixture.patch({
    'setup.py': evil,
    'src/calcx/__init__.py': `from calcx.built import built\n${SOURCE}`,
  });
  const { record, grade } = gradeOf(await fixture.run({ patch, canaries: await fixture.plant(planted) }));
  expect(record).toMatchObject({ outcome: 'completed', collectionErrors: [] });
  expect(grade.passToPass.failure).toEqual([]);
  expect(grade.verdict).toEqual({ verdict: 'unresolved', reason: 'tests' });
});

test('a file may become a directory, and a directory a file', async () => {
  const patch = await fixture.patch({
    'src/calcx/__init__.py': `${FIXED}from calcx.extra import WORDS\nfrom calcx.windows.inner import KEPT\n`,
    'src/calcx/windows.py': null,
    'src/calcx/windows/__init__.py': 'from calcx.windows.inner import KEPT\n',
    'src/calcx/windows/inner.py': 'KEPT = 3\n',
    'src/calcx/note': null,
    'src/calcx/note/a.txt': 'a',
    'src/calcx/extra/words.py': null,
    'src/calcx/extra.py': 'WORDS = ()\n',
  });
  const { record, grade } = gradeOf(await fixture.run({ patch, canaries: await fixture.plant(planted) }));
  expect(record).toMatchObject({ outcome: 'completed', note: '' });
  expect(grade.verdict).toEqual({ verdict: 'resolved' });
});

test('a patch of the packaging may delete files at the top, and directories whose last file goes', async () => {
  const patch = await fixture.patch({
    'setup.py': null,
    'src/calcx/extra/words.py': null,
    'src/calcx/made.py': 'MADE = True\n',
    'src/calcx/__init__.py': FIXED,
  });
  const { record, grade } = gradeOf(await fixture.run({ patch, canaries: await fixture.plant(planted) }));
  expect(record).toMatchObject({ outcome: 'completed', note: '' });
  expect(grade.verdict).toEqual({ verdict: 'resolved' });
});

test('a base is prepared once, and a build apart once for its patch; a damaged one is made again', async () => {
  const directory = join(installation.stateDir, 'workspaces');
  const planned = { patch: fixture.candidate.patch, canaries: await fixture.plant(planted) };
  const verdict = async (plan: Partial<RunPlan>) => gradeOf(await fixture.run(plan)).grade.verdict;
  await rm(directory, { recursive: true, force: true });
  expect(await verdict(planned)).toEqual({ verdict: 'resolved' });
  const prepared = async () => (await readdir(directory)).filter((name) => !name.startsWith('facts-'));
  const [base = ''] = await prepared();
  const builds = {
    ...planned,
    patch: await fixture.patch({
      'setup.py': null,
      'src/calcx/made.py': 'MADE = True\n',
      'src/calcx/__init__.py': FIXED,
    }),
  };
  expect(await verdict(builds)).toEqual({ verdict: 'resolved' });
  expect(await verdict(builds)).toEqual({ verdict: 'resolved' });
  expect(await verdict({ ...planned, patch: null })).toEqual({ verdict: 'unresolved', reason: 'tests' });
  expect(await prepared()).toHaveLength(2); // the base, and the one build
  const before = await stat(join(directory, base));
  await truncate(join(directory, base), 1_000);
  expect(await verdict(planned)).toEqual({ verdict: 'resolved' });
  expect((await stat(join(directory, base))).size).toBe(before.size);
});

test('a patch whose build fails is unresolved for its install', async () => {
  const patch = await fixture.patch({ 'setup.py': 'raise SystemExit("no build today")\n' });
  const { record, grade } = gradeOf(await fixture.run({ patch }));
  expect(grade.verdict).toEqual({ verdict: 'unresolved', reason: 'install' });
  expect(record.note).toContain('no build today');
  expect(await leftovers()).toBe(0);
});

test('the environment, the venv and the runner’s files are read-only to the tests', async () => {
  const writes = [
    '/env/x',
    '/venv/x',
    '/venv/lib/python3.11/site-packages/x.pth',
    '/repoforge/x',
    '/testbed/.repoforge-pytest.toml',
  ];
  const probe = `${FIXED}
import os, sys
for path in ${JSON.stringify(writes)}:
    try:
        open(path, "a").close()
        sys.stderr.write("WROTE " + path + "\\n")
    except OSError:
        sys.stderr.write("REFUSED " + path + "\\n")
`;
  const { record } = await evaluate(`${probe}\nraise SystemExit\n`, { scope: [SCOPE[0]] });
  const log = await logOf(record);
  for (const path of writes) expect(log).toContain(`REFUSED ${path}`);
  expect(log).not.toContain('WROTE');
});

test('an agent that did nothing has an empty patch though the install wrote a tracked file; one that worked has its own change', async () => {
  const workspace = await fixture.openWorkspace();
  try {
    expect(await workspace.takePatch()).toEqual({ ok: true, patch: Buffer.alloc(0) });
    await workspace.exec('printf "x = 1\\n" > "a new.py"', { timeoutMs: 10_000 });
    const taken = await workspace.takePatch();
    expect(taken.ok && taken.patch.toString()).toMatch(/^diff --git a\/a new.py b\/a new.py\n[^]*\+x = 1\n$/);
  } finally {
    await workspace.close();
  }
});
