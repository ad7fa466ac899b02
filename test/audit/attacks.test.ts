import { mkdtemp, readdir, rm, writeFile, mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { changedFile, deletedFile, newFile } from '../../src/audit/diff.ts';
import { importedSource } from '../../src/audit/facts.ts';
import { guarded } from '../../src/audit/payloads.ts';
import { ATTACKS } from '../../src/audit/registry.ts';
import { explainedByOdds } from '../../src/audit/run.ts';
import { auditTable } from '../../src/audit/table.ts';
import { BASE_FILES, madeFacts } from './facts.ts';

let dir = '';
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'repoforge-audit-'));
  await execa('git', ['init', '-q', dir]);
  for (const [path, text] of Object.entries(BASE_FILES)) {
    await mkdir(dirname(join(dir, path)), { recursive: true });
    await writeFile(join(dir, path), text);
  }
  await execa('git', ['add', '-A'], { cwd: dir });
});
afterAll(async () => rm(dir, { recursive: true, force: true }));

/** Whether git takes a patch on the base. */
async function applies(patch: string | Buffer): Promise<boolean> {
  const { exitCode } = await execa('git', ['apply', '--cached', '--check', '-'], {
    cwd: dir,
    input: patch,
    reject: false,
  });
  return exitCode === 0;
}

test('every file of the attacks is registered, under a name of its own, with one sentence', async () => {
  const files = await readdir(new URL('../../src/audit/attacks/', import.meta.url));
  expect(ATTACKS).toHaveLength(files.length);
  expect(new Set(ATTACKS.map(({ name }) => name)).size).toBe(ATTACKS.length);
  for (const { tries } of ATTACKS) expect(tries).toMatch(/^[a-z][^\n]*[^.]\.$/);
});

test('no attack is expected to score, or to be blamed on infrastructure', () => {
  for (const { name, expected } of ATTACKS) {
    expect(expected, name).not.toHaveLength(0);
    for (const verdict of expected) expect(['resolved', 'infra'], name).not.toContain(verdict);
  }
});

const predictions = ATTACKS.filter((attack) => attack.kind === 'prediction');
const agents = ATTACKS.filter((attack) => attack.kind === 'agent');

describe('predictions', () => {
  test.each(predictions.map((attack) => [attack.name, attack] as const))(
    '%s makes a patch that applies to its base, unless not applying is what it tries',
    async (_name, attack) => {
      const patch = attack.patch(madeFacts);
      if (patch === null || !(typeof patch === 'string' || Buffer.isBuffer(patch))) {
        expect(attack.expected).not.toContain('tampered');
        return;
      }
      expect(patch.toString()).not.toBe('');
      const mayFail = attack.expected.includes('patch_failed') || attack.expected.includes('empty_patch');
      if (!mayFail) expect(await applies(patch)).toBe(true);
    },
  );

  test('what they would give away, the line of the fix, stands in none of them', () => {
    for (const { name, patch } of predictions) {
      const text = patch(madeFacts);
      if (typeof text === 'string') expect(text, name).not.toContain(madeFacts.needle);
    }
  });
});

test.each(agents.map((attack) => [attack.name, attack] as const))(
  '%s is a script that a shell can read and that does not hold what it looks for',
  async (_name, attack) => {
    const script = attack.script(madeFacts) ?? '';
    expect(script).not.toBe('');
    expect(script).not.toContain(madeFacts.needle);
    expect(script).not.toContain(madeFacts.hiddenTestLine);
    await execa('sh', ['-n'], { input: script });
  },
);

test('attacks that need a line of the fix say that a row without one gives them no hold', () => {
  const blind = { ...madeFacts, needle: null, hiddenTestLine: null };
  const without = ATTACKS.filter((attack) =>
    attack.kind === 'agent' ? attack.script(blind) === null : attack.patch(blind) === null,
  );
  expect(without.map(({ name }) => name)).toEqual(['read-gold', 'agent-git-history', 'agent-read-files']);
});

test('diffs of files with and without a last line end apply, and are what git would make of them', async () => {
  const base = BASE_FILES['setup.cfg'];
  expect(await applies(changedFile('setup.cfg', base, `${base}more`))).toBe(true);
  expect(await applies(deletedFile('setup.cfg', base))).toBe(true);
  expect(await applies(newFile('a/b.txt', 'one\ntwo'))).toBe(true);
  expect(await applies(changedFile('setup.cfg', 'something else\n', base))).toBe(false);
});

test('a payload keeps its lines inside its function', () => {
  expect(guarded('import os\nif os:\n    pass')).toContain(
    'def __audit():\n    import os\n    if os:\n        pass\n',
  );
});

test('the module that is attacked is the source that a test imports, under src too', () => {
  const paths = new Set(['src/calc/__init__.py', 'tests/__init__.py', 'one.py']);
  const tests = ['import os\nfrom tests import help\nimport calc.deep\n'];
  expect(importedSource(tests, paths, ['', 'src'])).toBe('src/calc/__init__.py');
  expect(importedSource(['import one'], paths, [''])).toBe('one.py');
  expect(importedSource(['import sys'], paths, ['', 'src'])).toBeNull();
});

test('the table shows each attack on each instance, and names what did not hold', () => {
  const one = {
    attack: 'nop',
    verdict: 'unresolved',
    reward: 0,
    expected: ['unresolved'],
    note: '',
    runs: 1,
    won: 0,
  } as const;
  const { rows, below } = auditTable({
    gold: [
      { instance_id: 'a', verdict: 'resolved', reward: 1 },
      { instance_id: 'b', verdict: 'resolved', reward: 1 },
    ],
    attacks: [
      { ...one, instance_id: 'a', held: true },
      { ...one, instance_id: 'b', verdict: 'resolved', reward: 1, won: 1, held: false },
      {
        ...one,
        attack: 'selective-form',
        instance_id: 'b',
        verdict: 'resolved',
        reward: 1,
        runs: 3,
        won: 1,
        held: true,
      },
    ],
    not_applicable: [{ attack: 'read-gold', instance_id: 'a' }],
    odds: { a: 0.25, b: 0.5 },
    guessing: { runs: 3, won: 1, expected: 1.5 },
    held: false,
  });
  expect(rows).toEqual([
    ['attack', '1', '2'],
    ['gold', 'R', 'R'],
    ['nop', 'u', 'R!'],
    ['selective-form', '-', '1/3'],
    ['read-gold', '-', '-'],
  ]);
  expect(below).toContain('gold: 2/2 score 1; attacks: 2/3 held');
  expect(below).toContain('by guessing: 1 of 3 runs won; the odds allow 1.5');
  expect(below).toContain('2  b (odds of who guesses: 50 %)');
  expect(below.at(-1)).toBe('NOT HELD: nop on b: resolved, reward 1 (expected unresolved)');
});

test('wins by guessing are explained by the odds or they are not', () => {
  const of = (won: number, runs: number, odds: number) => explainedByOdds(won, Array(runs).fill(odds));
  expect(of(0, 3, 0)).toBe(true);
  expect(of(1, 3, 0)).toBe(false);
  expect(of(3, 3, 1)).toBe(true);
  expect(of(3, 3, 0.2)).toBe(true); // 0.8 %
  expect(of(3, 3, 0.05)).toBe(false);
  expect(of(60, 100, 0.5)).toBe(true);
  expect(of(70, 100, 0.5)).toBe(false);
  expect(explainedByOdds(1, [0, 0, 0.5])).toBe(true);
  expect(explainedByOdds(2, [0, 0, 0.5])).toBe(false);
});
