import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ArtefactRef, InstanceRow } from '../../src/domain/types.ts';
import type { Canary, PlantedCanary, RunPlan, RunRecord } from '../../src/domain/runs.ts';
import type { Ecosystem, WorkContext } from '../../src/ecosystems/types.ts';
import type { ArtefactStore, RecordStore } from '../../src/store/types.ts';
import {
  createEvaluator,
  infraResult,
  resolvePatch,
  type EvaluateInput,
  type Evaluator,
} from '../../src/evaluation/evaluate.ts';
import { createFsArtefactStore, createFsRecordStore } from '../../src/store/fs.ts';
import { infraFailure } from '../../src/domain/failures.ts';
import { makeRecord, makeRow } from './rows.ts';

const context: WorkContext = {
  owner: { installation: '0'.repeat(12), host: 'h' },
  heartbeat: () => undefined,
  signal: new AbortController().signal,
};
const both = ['test_a.py::test_new', 'test_a.py::test_old'];
const [isNew = '', isOld = ''] = both;

let dir = '';
let store: ArtefactStore;
let records: RecordStore;
let row: InstanceRow;
let gold: ArtefactRef;
let plans: RunPlan[];
let realised: number;
let runs: (() => Promise<RunRecord>)[];
let evaluator: Evaluator;
let counter = 0;

/** An ecosystem that records what it is asked and answers with the queued runs; no container is needed for these rules. */
const ecosystem: Ecosystem = {
  resolve: () => Promise.reject(new Error('evaluation never resolves')),
  checkLeaks: () => Promise.reject(new Error('evaluation never scans')),
  realise: (_spec, _variant) => {
    realised += 1;
    return Promise.resolve({
      ok: true,
      key: row.environment.key,
      served: true,
      durationMs: 0,
      fullBytes: 0,
      prunedBytes: 0,
      copiedFiles: 0,
    });
  },
  run: (plan) => {
    plans.push(plan);
    const next = runs.shift();
    if (next === undefined) throw new Error('one run too many');
    return next();
  },
};

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'rf-evaluate-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

beforeEach(async () => {
  counter += 1;
  store = createFsArtefactStore(join(dir, `${counter}`, 'artefacts'));
  records = createFsRecordStore(join(dir, `${counter}`, 'records'));
  gold = await store.put('diff --git a/a.py b/a.py\n');
  const candidate = await store.putJson({ schema: 1, patch: gold });
  row = makeRow({ candidate, environment_spec: await store.putJson({ schema: 1 }) });
  plans = [];
  realised = 0;
  runs = [];
  evaluator = createEvaluator({
    store,
    records,
    ecosystem,
    log: pino({ level: 'silent' }),
    underPressure: () => false,
  });
});

const queue = (...results: RunRecord[]) =>
  runs.push(...results.map((record) => () => Promise.resolve(record)));
const evaluate = (changes: Partial<EvaluateInput> = {}) =>
  evaluator.evaluate({
    row,
    patch: 'gold',
    modelNameOrPath: 'gold',
    provenCanaries: null,
    context,
    ...changes,
  });

describe('what runs and what is served', () => {
  it('gold runs once with the stored gold patch and is served the second time', async () => {
    queue(makeRecord(both));
    const first = await evaluate();
    const second = await evaluate({ modelNameOrPath: 'another name' });
    expect(first.origin).toBe('executed');
    expect(first.result.grade.verdict).toEqual({ verdict: 'resolved' });
    expect(second.origin).toBe('served');
    expect(second.result).toEqual({ ...first.result, modelNameOrPath: 'another name' });
    expect(plans).toHaveLength(1);
    expect(plans[0]).toMatchObject({
      kind: 'evaluate',
      patch: gold,
      withTestPatch: true,
      scope: ['test_a.py'],
      environment: row.environment.key,
      canaries: null,
    });
    expect(realised).toBe(1);
  });

  it('the same patch under another row hash, limits or text executes again', async () => {
    queue(makeRecord(both), makeRecord(both), makeRecord(both), makeRecord(both));
    await evaluate();
    const other = { ...row, limits: { ...row.limits, timeoutMs: 1 } };
    expect((await evaluate({ row: other })).origin).toBe('executed');
    expect((await evaluate({ row: { ...row, row_hash: 'x' } })).origin).toBe('executed');
    expect((await evaluate({ patch: await store.put('another') })).origin).toBe('executed');
  });

  it('a repetition always executes, and is not served to others', async () => {
    queue(makeRecord(both), makeRecord([], both), makeRecord(both));
    await evaluate();
    const repeated = await evaluate({ repetition: 1 });
    expect(repeated.origin).toBe('executed');
    expect(repeated.result.grade.verdict).toEqual({ verdict: 'unresolved', reason: 'tests' });
    expect((await evaluate()).result.grade.verdict).toEqual({ verdict: 'resolved' });
    expect((await evaluate({ patch: 'nop', repetition: 2 })).origin).toBe('executed');
    expect(await records.list('evaluations/')).toHaveLength(1);
  });

  it('an empty patch gets its verdict without a container, and nop does not inherit it', async () => {
    const empty = await evaluate({ patch: null });
    expect(empty.origin).toBe('not_run');
    expect(empty.result.grade).toMatchObject({ verdict: { verdict: 'empty_patch' }, resolved: 0, graded: 0 });
    queue(makeRecord([isOld], [isNew]));
    const nop = await evaluate({ patch: 'nop' });
    expect(nop).toMatchObject({ origin: 'executed', result: { grade: { resolved: 0, graded: 0 } } });
    expect(plans[0]?.patch).toBeNull();
  });

  it.each([
    ['a timeout', makeRecord([], [], { outcome: 'timeout', exitCode: null }), 'timeout', 'executed'],
    [
      'a patch that does not apply',
      makeRecord([], [], { outcome: 'patch_failed', exitCode: null }),
      'patch_failed',
      'not_run',
    ],
  ] as const)('%s is graded %s and is %s', async (_name, record, verdict, origin) => {
    queue(record, record);
    const first = await evaluate();
    expect(first).toMatchObject({ origin, result: { grade: { verdict: { verdict } } } });
    expect((await evaluate()).origin).toBe(verdict === 'timeout' ? 'executed' : 'served');
  });
});

it('what infrastructure kept from running has the key that its run would have had', async () => {
  queue(makeRecord(both));
  const { result } = await evaluate();
  const patch = await resolvePatch(store, { row, patch: 'gold' });
  const lost = infraResult({ row, modelNameOrPath: 'm', provenCanaries: null, patch }, 'no Docker');
  expect(lost).toMatchObject({ key: result.key, grade: { verdict: { verdict: 'infra' }, resolved: null } });
});

describe('bad luck', () => {
  it('infrastructure throws, leaves no record, and the environment is asked for again', async () => {
    runs.push(() => Promise.reject(infraFailure('the daemon is gone')));
    await expect(evaluate()).rejects.toThrow('the daemon is gone');
    expect(await records.list('evaluations/')).toEqual([]);
    queue(makeRecord(both));
    expect((await evaluate()).result.grade.resolved).toBe(1);
    expect(realised).toBe(2);
  });

  it('a timeout on a busy host is run once more, alone, and the record says so', async () => {
    evaluator = createEvaluator({
      store,
      records,
      ecosystem,
      log: pino({ level: 'silent' }),
      underPressure: () => true,
    });
    queue(makeRecord([], [], { outcome: 'timeout', exitCode: null }), makeRecord(both));
    const { result } = await evaluate();
    expect(result.grade.verdict).toEqual({ verdict: 'resolved' });
    const record = await store.getJson<RunRecord>(result.record ?? gold);
    expect(record.note).toBe(
      'The first run hit the time limit on a busy host; this is the second run, alone.',
    );
  });

  it('a timeout beside another run counts as pressure, and the second run starts only when the other has ended', async () => {
    const other = Promise.withResolvers<RunRecord>();
    const timeout = Promise.withResolvers<RunRecord>();
    runs.push(
      () => other.promise,
      () => timeout.promise,
    );
    queue(makeRecord(both));
    const long = evaluate({ repetition: 1 });
    const short = evaluate({ repetition: 2 });
    await expect.poll(() => plans.length).toBe(2);
    timeout.resolve(makeRecord([], [], { outcome: 'timeout', exitCode: null }));
    await new Promise((resolve) => setImmediate(resolve));
    expect(plans).toHaveLength(2);
    other.resolve(makeRecord(both));
    expect((await short).result.grade.resolved).toBe(1);
    expect((await long).result.grade.resolved).toBe(1);
    expect(plans).toHaveLength(3);
  });
});

describe('canaries', () => {
  it('a fresh draw of proven canaries is planted in each run and graded', async () => {
    const pool: Canary[] = [1, 2, 3, 4].map((n) => ({
      file: 'test_a.py',
      insertAfterLine: n,
      source: 'def @@NAME@@(): assert False\n',
      names: Array.from({ length: 50 }, (_, i) => `test_like_${n}_${i}`),
      twin: isOld,
      prefix: 'test_a.py::',
    }));
    const provenCanaries = await store.putJson(pool);
    const draws: string[] = [];
    for (const repetition of [1, 2, 3]) {
      runs.push(async () => {
        const planted = await store.getJson<PlantedCanary[]>(plans.at(-1)?.canaries ?? gold);
        draws.push(JSON.stringify(planted));
        // a dishonest run: the canaries pass like their twins
        return makeRecord([...both, ...planted.map((one) => one.canary.prefix + one.name)]);
      });
      const { result } = await evaluate({ provenCanaries, repetition });
      expect(result.grade.verdict).toEqual({ verdict: 'tampered', reason: 'canary_passed' });
      expect(result.grade.graded).toBe(0);
    }
    expect(new Set(draws).size).toBeGreaterThan(1);
  });

  describe('that say something else than under gold', () => {
    const canary: Canary = {
      file: 'test_a.py',
      insertAfterLine: 1,
      source: 'def @@NAME@@(): assert f() == 7\n',
      names: Array.from({ length: 50 }, (_, i) => `test_like_${i}`),
      twin: isOld,
      prefix: 'test_a.py::',
      failures: { 'test_a.py::': { gold: 'assert 3 == 7' } },
    };
    /** A run in which the tests pass and the canary fails so. */
    const says =
      (message: string, passed = both) =>
      async () => {
        const planted = await store.getJson<PlantedCanary[]>(plans.at(-1)?.canaries ?? gold);
        const id = `test_a.py::${planted[0]!.name}`;
        const record = makeRecord(passed);
        return {
          ...record,
          exitCode: 1,
          tests: { ...record.tests, [id]: { status: 'failed', durationMs: 1, message } },
        } as const;
      };
    const verdictOf = async (...answers: (() => Promise<RunRecord>)[]) => {
      runs.push(...answers);
      const { result } = await evaluate({ provenCanaries: await store.putJson([canary]), repetition: 1 });
      const record = await store.getJson<RunRecord>(result.record!);
      return {
        verdict: result.grade.verdict.verdict,
        runs: plans.length,
        left: runs.length,
        note: record.note,
      };
    };
    const doubt = 'Canaries failed otherwise than under gold; run';

    it('cost one run when they say the same', async () => {
      expect(await verdictOf(says('assert 3 == 7'))).toEqual({
        verdict: 'resolved',
        runs: 1,
        left: 0,
        note: '',
      });
    });

    it('make what is resolved prove itself again, until they are content', async () => {
      const answers = [says('assert 2 == 7'), says('assert 3 == 7')];
      expect(await verdictOf(...answers)).toEqual({
        verdict: 'resolved',
        runs: 2,
        left: 0,
        note: `${doubt} 2.`,
      });
    });

    it('believe three runs: the same value may be told in other words', async () => {
      const answers = [1, 2, 3].map(() => says('assert 3.0 == 7'));
      expect(await verdictOf(...answers)).toEqual({
        verdict: 'resolved',
        runs: 3,
        left: 0,
        note: `${doubt} 3.`,
      });
    });

    it('lose a forger who guessed right but once', async () => {
      const answers = [says('assert 2 == 7'), says('assert 2 == 7', [isOld])];
      expect(await verdictOf(...answers)).toMatchObject({ verdict: 'unresolved', runs: 2, left: 0 });
    });

    it('do not matter where nothing is resolved', async () => {
      expect(await verdictOf(says('assert 2 == 7', [isOld]))).toMatchObject({
        verdict: 'unresolved',
        runs: 1,
      });
    });
  });
});
