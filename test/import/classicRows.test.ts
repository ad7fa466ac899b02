import { describe, expect, it } from 'vitest';
import { parseClassicRows } from '../../src/import/classicRows.ts';
import { parsePythonStringList } from '../../src/import/pythonList.ts';

const base = {
  instance_id: 'a__a-1',
  repo: 'a/a',
  base_commit: 'abcdef0',
  patch: 'diff --git a/x b/x',
  test_patch: 'diff --git a/t b/t\n',
  problem_statement: 'p',
  hints_text: null,
  created_at: '2024-01-02 03:04:05',
  version: 1.5,
  FAIL_TO_PASS: '["t::a"]',
  PASS_TO_PASS: [] as unknown,
};
const message = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    return (error as Error).message;
  }
  return 'nothing was thrown';
};

describe('classic rows', () => {
  it('JSON lines and a JSON list read alike, with the line of each row', () => {
    const second = { ...base, instance_id: 'a__a-2' };
    const lines = parseClassicRows('f.jsonl', `${JSON.stringify(base)}\n\n${JSON.stringify(second)}\n`);
    const list = parseClassicRows('f.json', `[\n${JSON.stringify(base)},\n\n${JSON.stringify(second)}]`);
    expect(lines.map((row) => row.line)).toEqual([1, 3]);
    expect(list.map((row) => row.line)).toEqual([2, 4]);
    const bare = (rows: typeof lines) => rows.map(({ line: _line, ...row }) => row);
    expect(bare(list)).toEqual(bare(lines));
    expect(lines[0]).toMatchObject({
      patch: 'diff --git a/x b/x\n',
      hintsText: '',
      createdAt: '2024-01-02T03:04:05Z',
      version: '1.5',
      license: null,
      failToPass: ['t::a'],
      passToPass: [],
    });
  });

  it.each<[string, object, readonly string[]]>([
    ['a list', { FAIL_TO_PASS: ['t::a', 't::b'] }, ['t::a', 't::b']],
    ['a JSON text', { FAIL_TO_PASS: '["t::a[x \\"y\\"]"]' }, ['t::a[x "y"]']],
    ['the text of a Python list', { FAIL_TO_PASS: "['t::a', \"t::it's\"]" }, ['t::a', "t::it's"]],
    ['lower case', { FAIL_TO_PASS: undefined, fail_to_pass: "['t::a']" }, ['t::a']],
    ['an empty Python list', { FAIL_TO_PASS: '[]' }, []],
  ])('FAIL_TO_PASS may be %s', (_name, change, wanted) => {
    expect(parseClassicRows('f', JSON.stringify({ ...base, ...change }))[0]?.failToPass).toEqual(wanted);
  });

  it.each<[string, object, RegExp]>([
    [
      'code in place of a list',
      { FAIL_TO_PASS: '__import__("os").system("x")' },
      /^f:1: FAIL_TO_PASS is a text that holds no list/,
    ],
    [
      'code inside a list',
      { PASS_TO_PASS: "['a', __import__('os')]" },
      /^f:1: PASS_TO_PASS is a text that holds no list/,
    ],
    ['no list at all', { FAIL_TO_PASS: undefined }, /^f:1: the row has no FAIL_TO_PASS\.$/],
    ['a list of numbers', { FAIL_TO_PASS: [1] }, /^f:1: FAIL_TO_PASS/],
    ['a repo without owner', { repo: 'a' }, /^f:1: repo: must be owner\/name\.$/],
    [
      'a base that is no commit',
      { base_commit: 'main; rm -rf /' },
      /^f:1: base_commit: must be a commit id\.$/,
    ],
    ['an id that leaves the directory', { instance_id: '../x' }, /^f:1: instance_id: must be letters/],
    ['a time that is none', { created_at: 'soon' }, /^f:1: created_at is no time: soon\.$/],
  ])('%s is refused with its line', (_name, change, wanted) => {
    expect(message(() => parseClassicRows('f', JSON.stringify({ ...base, ...change })))).toMatch(wanted);
  });

  it('broken JSON, a row that is no object, doubles and empty files are refused', () => {
    const good = JSON.stringify(base);
    expect(message(() => parseClassicRows('f', `${good}\n{"a":`))).toMatch(/^f:2:\d+: not valid JSON/);
    expect(message(() => parseClassicRows('f', `${good}\n7`))).toBe('f:2: a row must be an object.');
    expect(message(() => parseClassicRows('f', `${good}\n${good}`))).toBe(
      'f:2: a second row of a__a-1; the first is on line 1.',
    );
    expect(message(() => parseClassicRows('f', '\n'))).toBe('f holds no rows.');
  });

  it('milliseconds since 1970 are a time', () => {
    const [row] = parseClassicRows('f', JSON.stringify({ ...base, created_at: 1_700_000_000_000 }));
    expect(row?.createdAt).toBe('2023-11-14T22:13:20Z');
  });
});

describe('the text of a Python list', () => {
  it.each<[string, readonly string[] | null]>([
    [
      String.raw`['a\'b', "c\"d", 'e\\f', '\x41\u00e9\n', '\d']`,
      ["a'b", 'c"d', String.raw`e\f`, 'Aé\n', String.raw`\d`],
    ],
    ["['a',]", ['a']],
    ["[ 'a' , 'b' ]", ['a', 'b']],
    ["['a' 'b']", null],
    ["['a", null],
    ["('a',)", null],
    ['[1]', null],
    ["['\\U99999999']", null],
    ['', null],
  ])('%j is %j', (text, wanted) => {
    expect(parsePythonStringList(text)).toEqual(wanted);
  });
});
