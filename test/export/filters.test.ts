import { describe, expect, it } from 'vitest';
import type { LabelConsensus, LabelScore } from '../../src/domain/types.ts';
import { licenseAllowed, parseMaxScores, withinScores } from '../../src/export/filters.ts';
import { asciiJsonLine, classicRow } from '../../src/export/classic.ts';
import { environmentImage, instanceImage } from '../../src/export/imageNames.ts';
import { makeRow } from '../evaluation/rows.ts';

const label = (score: LabelScore): LabelConsensus => ({
  score,
  votes: [score],
  method: 'majority',
  controversial: false,
  rationale: '',
});
const scored = (a: LabelScore, b: LabelScore, c: LabelScore) =>
  makeRow({ labels: { labeler: 'x', issue_clarity: label(a), test_fairness: label(b), effort: label(c) } });

describe('--max-scores', () => {
  it.each([
    [[1, 1, 1], true],
    [[0, 0, 0], true],
    [[2, 1, 1], false],
    [[1, 2, 1], false],
    [[1, 1, 2], false],
  ] as const)('1,1,1 on a row with %j keeps it: %j', (scores, kept) => {
    expect(withinScores(scored(scores[0], scores[1], scores[2]), [1, 1, 1])).toBe(kept);
  });
  it('reads three scores and refuses everything else in one sentence', () => {
    expect(parseMaxScores(' 1,0, 3')).toEqual([1, 0, 3]);
    for (const text of ['', '1,1', '1,1,4', '1,1,1,1', 'a,b,c', '1 1 1'])
      expect(parseMaxScores(text)).toEqual({ problem: expect.stringContaining('is not three scores') });
  });
});

describe('licence filter', () => {
  it.each<[string | null, string[], boolean]>([
    ['MIT', ['mit'], true],
    ['MIT', ['Apache-2.0'], false],
    [null, ['MIT'], false],
    ['', ['MIT'], false],
    ['MIT OR GPL-3.0-only', ['MIT'], true],
    ['MIT AND GPL-3.0-only', ['MIT'], false],
    ['(MIT OR Apache-2.0) AND BSD-3-Clause', ['MIT'], false],
    ['(MIT OR Apache-2.0) AND BSD-3-Clause', ['MIT', 'BSD-3-Clause'], true],
    ['MIT OR Apache-2.0 AND BSD-3-Clause', ['MIT'], true],
    ['GPL-2.0-only WITH Classpath-exception-2.0', ['GPL-2.0-only'], false],
    ['GPL-2.0-only WITH Classpath-exception-2.0', ['gpl-2.0-only with classpath-exception-2.0'], true],
    ['The MIT License (MIT)', ['MIT'], true],
    ['BSD License', ['BSD'], true],
    ['GNU LGPL', ['GPL'], false],
    ['permitted to all who ask', ['MIT'], false],
  ])('%j under %j: %j', (license, allowed, wanted) => {
    expect(licenseAllowed(license, allowed)).toBe(wanted);
  });
});

describe('classic rows', () => {
  it('carry the lists as JSON texts and the published field names', () => {
    const row = classicRow(makeRow(), { failToPass: ['f::a'], passToPass: [] });
    expect(Object.keys(row)).toEqual([
      'repo',
      'instance_id',
      'base_commit',
      'patch',
      'test_patch',
      'problem_statement',
      'hints_text',
      'created_at',
      'version',
      'FAIL_TO_PASS',
      'PASS_TO_PASS',
      'environment_setup_commit',
      'license',
    ]);
    expect(row).toMatchObject({ FAIL_TO_PASS: '["f::a"]', PASS_TO_PASS: '[]' });
  });
  it('are lines that no reader splits, whatever the text holds', () => {
    const text = 'a\u2028b\u0085c\u000bd\u001ce é 🙂 \ud800\n';
    const line = asciiJsonLine({ text });
    expect(line.slice(0, -1)).toMatch(/^[\x20-\x7e]*$/);
    expect(JSON.parse(line)).toEqual({ text });
  });
});

it('images are named by the rule of SWE-bench', () => {
  expect(instanceImage('Pallets__Flask-5014', 'swebench', 'x86_64')).toBe(
    'swebench/sweb.eval.x86_64.pallets_1776_flask-5014:latest',
  );
  expect(environmentImage('ab'.repeat(32), 'pruned', 'repoforge', 'x86_64')).toBe(
    `repoforge/sweb.env.x86_64.${'ab'.repeat(12)}-pruned:latest`,
  );
});
