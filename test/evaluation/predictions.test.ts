import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadPredictions, normalisePatch, parsePredictions } from '../../src/evaluation/predictions.ts';

const ids = new Set(['a__a-1', 'b__b-2']);
const parse = (text: string, source = 'preds.json', ignoreUnknown = false) =>
  parsePredictions({ source, text, instanceIds: ids, ignoreUnknown });
const prediction = (id: string, patch: string | null = 'diff --git a/x b/x\n', model = 'm') => ({
  instance_id: id,
  model_name_or_path: model,
  model_patch: patch,
});
const message = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    return (error as Error).message;
  }
  return 'nothing was thrown';
};

describe('forms of prediction files', () => {
  const two = [prediction('a__a-1'), prediction('b__b-2', null)];
  it.each<[string, string, string]>([
    ['a JSON list', 'preds.json', JSON.stringify(two, null, 2)],
    ['JSON lines', 'preds.jsonl', two.map((one) => JSON.stringify(one)).join('\n\n')],
    ['JSON lines in a file called .json', 'preds.json', two.map((one) => JSON.stringify(one)).join('\n')],
    [
      'a dict of objects by id',
      'preds.json',
      JSON.stringify(Object.fromEntries(two.map((one) => [one.instance_id, one]))),
    ],
    [
      "an agent's preds.json without the id inside",
      'preds.json',
      JSON.stringify({
        'a__a-1': { model_name_or_path: 'm', model_patch: 'diff --git a/x b/x\n' },
        'b__b-2': { model_name_or_path: 'm', model_patch: '' },
      }),
    ],
    [
      'a dict of bare patches, named after the file',
      'm.json',
      JSON.stringify({ 'a__a-1': 'diff --git a/x b/x\n', 'b__b-2': null }),
    ],
    ['a byte order mark before the list', 'preds.json', `\uFEFF${JSON.stringify(two)}`],
    [
      "OpenHands' output lines",
      'm.jsonl',
      [
        JSON.stringify({ instance_id: 'a__a-1', test_result: { git_patch: 'diff --git a/x b/x' } }),
        JSON.stringify({ instance_id: 'b__b-2', test_result: { git_patch: '' } }),
      ].join('\r\n'),
    ],
  ])('%s gives the same two predictions', (_name, source, text) => {
    expect(parse(text, source).predictions).toEqual(two);
  });

  it('one prediction alone in a file is read as one', () => {
    expect(parse(JSON.stringify(prediction('a__a-1'))).predictions).toEqual([prediction('a__a-1')]);
  });
});

describe('patches are changed only where git needs it', () => {
  it.each<[string, string | null, string | null]>([
    ['null stays null', null, null],
    ['nothing is no patch', '', null],
    ['white space is no patch', ' \n\t\n', null],
    ['a missing final newline is added', 'diff --git a/x b/x\n+a', 'diff --git a/x b/x\n+a\n'],
    ['carriage returns, trailing spaces and empty last lines stay', 'x\r\n \n\n', 'x\r\n \n\n'],
  ])('%s', (_name, given, wanted) => {
    expect(normalisePatch(given)).toBe(wanted);
  });
});

describe('broken files are refused in one sentence that names the line', () => {
  const good = JSON.stringify(prediction('a__a-1'));
  it.each<[string, string, string, RegExp]>([
    ['an empty file', 'p.json', ' \n', /^p\.json holds no predictions\.$/],
    ['an empty list', 'p.json', '[]', /^p\.json holds no predictions\.$/],
    [
      'a cut list',
      'p.json',
      '[\n{"instance_id": "a__a-1",\n "model_patch": "x',
      /^p\.json:3:19: not valid JSON \(Unterminated string\)\.$/,
    ],
    [
      'a stray comma',
      'p.json',
      '[\n  {"instance_id": "a__a-1"},\n  ,\n]',
      /^p\.json:3:3: not valid JSON \(Unexpected token ','\)\.$/,
    ],
    ['a broken JSON line', 'p.jsonl', `${good}\n{"instance_id": \n`, /^p\.jsonl:2:\d+: not valid JSON \(/],
    [
      'a number',
      'p.json',
      '7',
      /^p\.json:1: expected a list of predictions or a dict by instance_id, found a number\.$/,
    ],
    ['a list of texts', 'p.json', '[\n"x"]', /^p\.json:2: a prediction must be an object, found a string\.$/],
    [
      'a list on a line',
      'p.jsonl',
      `[${good}]`,
      /^p\.jsonl:1: a prediction must be an object, found a list\.$/,
    ],
    ['no id', 'p.json', '[{"model_patch": "x"}]', /^p\.json:1: the prediction has no instance_id\.$/],
    [
      'no patch',
      'p.jsonl',
      `${good}\n{"instance_id":"b__b-2"}`,
      /^p\.jsonl:2: the prediction of b__b-2 has no model_patch\.$/,
    ],
    [
      'a patch that is a list',
      'p.jsonl',
      '{"instance_id":"b__b-2","model_patch":["x"]}',
      /:1: model_patch of b__b-2 must be text or null, found a list\.$/,
    ],
    [
      'a model that is a number',
      'p.jsonl',
      '{"instance_id":"b__b-2","model_name_or_path":3,"model_patch":"x"}',
      /model_name_or_path of b__b-2 must be/,
    ],
    [
      'another id inside',
      'p.json',
      '{"a__a-1": {"instance_id":"b__b-2","model_patch":"x"}}',
      /the entry of a__a-1 holds the prediction of another instance \(b__b-2\)/,
    ],
    [
      'a second prediction',
      'p.jsonl',
      `${good}\n${good}`,
      /^p\.jsonl:2: a second prediction for a__a-1; the first is on line 1\.$/,
    ],
    [
      'a key that stands twice in a dict',
      'p.json',
      '{\n"a__a-1": "x",\n"b__b-2": "{\\"}",\n"a__a-1": null\n}',
      /^p\.json:4: a second prediction for a__a-1; the first is on line 2\.$/,
    ],
  ])('%s', (_name, source, text, wanted) => {
    expect(message(() => parse(text, source))).toMatch(wanted);
  });

  it('unknown instances are all listed with their lines', () => {
    const text = [prediction('a__a-1'), prediction('c__c-3'), prediction('d__d-4')]
      .map((one) => JSON.stringify(one))
      .join('\n');
    expect(message(() => parse(text, 'p.jsonl'))).toBe(
      'p.jsonl has 2 predictions for instances that the dataset does not have: c__c-3 (line 2), d__d-4 (line 3); mend the ids or pass --ignore-unknown.',
    );
    expect(parse(text, 'p.jsonl', true)).toEqual({
      predictions: [prediction('a__a-1')],
      ignored: ['c__c-3', 'd__d-4'],
    });
  });

  it('an id that is unknown and stands twice is refused even when unknown ids are ignored', () => {
    const line = JSON.stringify(prediction('c__c-3'));
    expect(message(() => parse(`${line}\n${line}`, 'p.jsonl', true))).toMatch(
      /a second prediction for c__c-3/,
    );
  });
});

describe('sources', () => {
  let dir = '';
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'rf-predictions-'));
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));

  it('the words gold and nop are no paths', async () => {
    expect(await loadPredictions({ source: 'gold', instanceIds: ids })).toEqual({ kind: 'gold' });
    expect(await loadPredictions({ source: 'nop', instanceIds: ids })).toEqual({ kind: 'nop' });
  });

  it('a file is read with its path', async () => {
    const path = join(dir, 'preds.jsonl');
    await writeFile(path, JSON.stringify(prediction('b__b-2')));
    expect(await loadPredictions({ source: path, instanceIds: ids })).toEqual({
      kind: 'file',
      path,
      predictions: [prediction('b__b-2')],
      ignored: [],
    });
  });

  it('a file that is not there is named with what may stand in its place', async () => {
    const path = join(dir, 'missing.json');
    await expect(loadPredictions({ source: path, instanceIds: ids })).rejects.toThrow(
      `Cannot read predictions from ${path} (ENOENT); give a .json or .jsonl file, or the word gold or nop.`,
    );
  });
});
