import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import type { TestStatus } from '../../../src/domain/runs.ts';
import { repeatTests, reversedOrder, type Repetition } from '../../../src/ecosystems/python/repetitions.ts';

type Plan = Readonly<Record<string, TestStatus>> | null;
const statuses = (plan: NonNullable<Plan>, durationMs = 0) =>
  Object.fromEntries(Object.entries(plan).map(([id, status]) => [id, { status, durationMs }]));

/** Repeats after a first run of `durationMs`, of which each test took `ownMs`; the repetitions are `plans`, the last of them for ever. */
async function repeat(first: NonNullable<Plan>, plans: readonly Plan[], durationMs: number, ownMs = 0) {
  const orders: boolean[] = [];
  const limits: number[] = [];
  const again = ({ reversed, timeoutMs }: { reversed: boolean; timeoutMs: number }): Promise<Repetition> => {
    const plan = plans[Math.min(orders.length, plans.length - 1)] ?? null;
    orders.push(reversed);
    limits.push(timeoutMs);
    return Promise.resolve({ tests: plan === null ? null : statuses(plan), durationMs });
  };
  return { ...(await repeatTests({ tests: statuses(first, ownMs), durationMs }, again)), orders, limits };
}

describe('repetitions of a run', () => {
  it('are twelve for quick tests, the first of them in reversed order, and find nothing in steady tests', async () => {
    const { repetitions, unsteady, orders } = await repeat(
      { a: 'passed', b: 'failed' },
      [{ a: 'passed', b: 'error' }],
      100,
    );
    expect({ repetitions, unsteady }).toEqual({ repetitions: 12, unsteady: [] });
    expect(orders).toEqual([true, ...Array.from({ length: 11 }, () => false)]);
  });

  it('name every test that once had another status, is missing, or is new', async () => {
    const same = { a: 'passed', b: 'passed', c: 'failed' } as const;
    const other = { a: 'failed', b: 'passed', d: 'passed' } as const;
    expect((await repeat(same, [same, other, same], 100)).unsteady).toEqual(['a', 'c', 'd']);
  });

  it.each([
    ['twelve for quick tests on a slow start', { durationMs: 1_500, ownMs: 50 }, 12],
    ['six where the start alone takes three seconds', { durationMs: 3_000, ownMs: 50 }, 6],
    ['two for tests of four seconds', { durationMs: 5_000, ownMs: 4_000 }, 2],
    ['one for a long suite, which may take three times as long', { durationMs: 60_000, ownMs: 50_000 }, 1],
  ])('are %s', async (_title, { durationMs, ownMs }, repetitions) => {
    const done = await repeat({ a: 'passed' }, [{ a: 'passed' }], durationMs, ownMs);
    expect(done.repetitions).toBe(repetitions);
    expect(done.limits[0]).toBe(Math.max(10_000, 3 * durationMs));
  });

  it('that do not end are evidence of nothing', async () => {
    const { repetitions, unsteady } = await repeat({ a: 'passed' }, [null], 5_000);
    expect({ repetitions, unsteady }).toEqual({ repetitions: 0, unsteady: [] });
  });
});

it('The runner in reversed order is told so before its launcher, with the arguments that it has', () => {
  const launcher = 'print(*sys.argv[1:])';
  const [python, flag, code = '', ...args] = reversedOrder([
    '/venv/bin/python',
    '-c',
    launcher,
    '-rA',
    'tests',
  ]);
  expect([python, flag, ...args]).toEqual(['/venv/bin/python', '-c', '-rA', 'tests']);
  expect(execFileSync('python3', ['-c', code, ...args], { encoding: 'utf8' })).toBe(
    '-p repoforge_reversed -rA tests\n',
  );
});
