import { describe, expect, test } from 'vitest';
import { isFinalRelease, newestFirst, predecessorsOf } from '../../src/domain/releases.ts';

const timed = (...pairs: readonly (readonly [string, string | null])[]) =>
  pairs.map(([version, uploaded]) => ({ version, uploaded }));
const untimed = (...versions: readonly string[]) =>
  timed(...versions.map((version) => [version, null] as const));
const first = (version: string, releases: ReturnType<typeof timed>): string | undefined =>
  predecessorsOf(version, releases)[0]?.version;

describe('the predecessor of a release', () => {
  test('of a patch is the patch before it, even when a new major came out between them', () => {
    const releases = timed(
      ['7.3.0', '2026-01-01'],
      ['8.0.0', '2026-02-01'],
      ['7.3.1', '2026-03-01'],
      ['8.0.1', '2026-04-01'],
    );
    expect(first('7.3.1', releases)).toBe('7.3.0');
    expect(first('8.0.1', releases)).toBe('8.0.0');
  });

  test('of a new major is the newest lower one that was out by then, not a later backport', () => {
    const releases = timed(['7.3.0', '2026-01-01'], ['8.0.0', '2026-02-01'], ['7.3.1', '2026-03-01']);
    expect(first('8.0.0', releases)).toBe('7.3.0');
  });

  test.each([
    ['1.10.0', ['1.2.0', '1.9.0', '1.10.0', '0.9'], '1.9.0'],
    ['2.1.0', ['1.9', '2.0.3', '2.1.0'], '2.0.3'],
    ['2.0', ['1.9', '1.10', '2.0'], '1.10'],
    ['1.0.post1', ['0.9', '1.0', '1.0.post1'], '1.0'],
    ['1!1.0', ['2024.1', '1!1.0'], '2024.1'],
    ['21.0', ['20.2.1', '20.3.0', '21.0'], '20.3.0'],
    ['0.1', ['0.1', '0.2'], undefined],
  ])('of %s among %j is %s', (version, versions, expected) => {
    expect(first(version, untimed(...versions))).toBe(expected);
  });
});

test('the order is by upload where all times are known, else by version', () => {
  const releases = timed(['8.0.0', '2026-02-01'], ['7.3.1', '2026-03-01'], ['7.3.0', '2026-01-01']);
  expect(newestFirst(releases).map((release) => release.version)).toEqual(['7.3.1', '8.0.0', '7.3.0']);
  expect(newestFirst(untimed('1.2', '1.10', '1.9')).map((release) => release.version)).toEqual([
    '1.10',
    '1.9',
    '1.2',
  ]);
});

test.each([
  ['1.0', true],
  ['1.0.post2', true],
  ['1.0rc1', false],
  ['1.0a2', false],
  ['1.0.dev3', false],
])('%s is a final release: %s', (version, expected) => {
  expect(isFinalRelease(version)).toBe(expected);
});
