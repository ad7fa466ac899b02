import { describe, expect, test } from 'vitest';
import { backendCutoff, cutoffFor, shiftYears, toolCutoff } from '../../../src/ecosystems/python/calendar.ts';
import { admits, chooseRuntime } from '../../../src/ecosystems/python/runtime.ts';
import type { RuntimeBase } from '../../../src/sandbox/types.ts';

const runtime = (runtimeVersion: string, releasedAt: string): RuntimeBase => ({
  base: `debian-${runtimeVersion}/1`,
  runtimeVersion,
  releasedAt,
});
const AVAILABLE = [
  runtime('3.9', '2020-10-05T00:00:00Z'),
  runtime('3.11', '2022-10-24T00:00:00Z'),
  runtime('3.13', '2024-10-07T00:00:00Z'),
  runtime('3.14', '2025-10-07T00:00:00Z'),
];

describe('the runtime of a base', () => {
  test.each([
    // requires-python, classifiers, base date, chosen, rule
    ['>=3.8', ['3.8', '3.12', '3.13'], '2025-01-01T00:00:00Z', '3.13', 'dated'],
    ['>=3.8', [], '2026-01-01T00:00:00Z', '3.14', 'dated'],
    ['>=3.8', ['3', '3.8', '3.9', '3.10'], '2023-06-01T00:00:00Z', '3.9', 'dated'],
    ['>=3.8', [], '2022-10-23T00:00:00Z', '3.9', 'dated'],
    ['>=3.8', [], '2022-10-24T00:00:00Z', '3.11', 'dated'],
    ['<3.11', [], '2025-01-01T00:00:00Z', '3.9', 'dated'],
    ['>=3.9.1,<=3.11', [], '2025-01-01T00:00:00Z', '3.11', 'dated'],
    ['>=3.7.*', [], '2021-01-01T00:00:00Z', '3.9', 'dated'],
    ['not a specifier', [], '2021-01-01T00:00:00Z', '3.9', 'dated'],
    [null, ['2.7', '3.6', '3.7'], '2021-01-01T00:00:00Z', '3.9', 'above_classifiers'],
    [null, ['3.6'], '2018-01-01T00:00:00Z', '3.9', 'younger_than_base'],
    ['>=3.10', [], '2021-12-01T00:00:00Z', '3.11', 'younger_than_base'],
  ] as const)(
    'requires-python %s, classifiers %j, base of %s: %s by rule %s',
    (requiresPython, classifiers, baseCreatedAt, version, rule) => {
      const choice = chooseRuntime({ requiresPython, classifiers, baseCreatedAt, available: AVAILABLE });
      expect(choice).toMatchObject({ ok: true, rule, runtime: { runtimeVersion: version } });
    },
  );

  test.each([
    ['>=3.15', [], /needs >=3\.15.*3\.9, 3\.11, 3\.13, 3\.14/],
    [null, ['2.6', '2.7'], /Python 2 only/],
    ['==2.7.*', ['2.7'], /Python 2 only/],
  ] as const)(
    'there is none for requires-python %s with classifiers %j',
    (requiresPython, classifiers, detail) => {
      const choice = chooseRuntime({
        requiresPython,
        classifiers,
        baseCreatedAt: '2025-01-01T00:00:00Z',
        available: AVAILABLE,
      });
      expect(choice).toMatchObject({ ok: false, detail: expect.stringMatching(detail) as string });
    },
  );

  test('a specifier on patch releases admits the minor version that holds such a patch', () => {
    expect(admits('>=3.9.1', '3.9')).toBe(true);
    expect(admits('!=3.9.*,>=3.8', '3.9')).toBe(false);
  });
});

describe('the calendar', () => {
  test.each([
    ['quarter', '2024-05-15T10:00:00Z', '2024-07-01T00:00:00Z', '2024-04-01T00:00:00Z'],
    ['quarter', '2024-04-01T00:00:00Z', '2024-07-01T00:00:00Z', '2024-04-01T00:00:00Z'],
    ['quarter', '2024-03-31T23:59:59Z', '2024-07-01T00:00:00Z', '2024-01-01T00:00:00Z'],
    ['month', '2024-05-15T10:00:00Z', '2024-07-01T00:00:00Z', '2024-05-01T00:00:00Z'],
    ['exact', '2024-05-15T10:00:00Z', '2024-07-01T00:00:00Z', '2024-06-30T23:59:59Z'],
    // a fix published at the very start of a quarter is never inside its own cut-off
    ['quarter', '2024-04-01T00:00:00Z', '2024-04-01T00:00:00Z', '2024-03-31T23:59:59Z'],
  ] as const)('%s of a base of %s whose fix is of %s is %s', (policy, base, created, expected) => {
    expect(cutoffFor(policy, base, created)).toBe(expected);
  });

  test('a runner of the time serves unless the runtime is younger than the cut-off', () => {
    expect(toolCutoff('2024-04-01T00:00:00Z', '2022-10-24T00:00:00Z')).toBeNull();
    expect(toolCutoff('2021-04-01T00:00:00Z', '2022-10-24T00:00:00Z')).toBe('2023-04-01T00:00:00Z');
  });

  test('back ends are of the beginning of the year, of the runtime, or of the first editable installs', () => {
    expect(backendCutoff('2024-10-01T00:00:00Z', '2022-10-24T00:00:00Z')).toBe('2024-01-01T00:00:00Z');
    expect(backendCutoff('2021-04-01T00:00:00Z', '2020-10-05T00:00:00Z')).toBe('2022-10-01T00:00:00Z');
    expect(backendCutoff('2025-10-01T00:00:00Z', '2025-10-07T00:00:00Z')).toBe('2026-04-01T00:00:00Z');
  });

  test('years are shifted on the same day', () => {
    expect(shiftYears('2024-04-01T00:00:00Z', -3)).toBe('2021-04-01T00:00:00Z');
  });
});
