import { describe, expect, it } from 'vitest';
import { parseLog, parserSpelling } from '../../src/export/logParser.ts';
import { bestParsedLists, parsedLists } from '../../src/export/parsedLists.ts';

// What swebench 5.0.2's own parsers return for these lines; the peer test compares the two on real logs.
const log = [
  'tests/test_a.py ..F                        [100%]',
  '=========== short test summary info ============',
  'PASSED tests/test_a.py::test_plain',
  'PASSED tests/test_a.py::test_param[a b]',
  'PASSED tests/test_a.py::test_param[a c]',
  'FAILED tests/test_a.py::test_cut[x - y] - assert 1 == 2',
  'ERROR tests/test_b.py - ModuleNotFoundError: No module named z',
  'SKIPPED [3] tests/test_a.py:7: not here',
  'XFAIL tests/test_a.py::test_x - known',
  'XPASS tests/test_a.py::test_xpass - surprising',
  'PASSED',
  'ERROR: file not found: q',
  ' PASSED tests/test_a.py::test_indented',
  'tests/test_a.py::test_old PASSED',
].join('\n');

describe('parse_log_pytest', () => {
  it('reads status lines and cuts ids at the first space', () => {
    expect(Object.fromEntries(parseLog('parse_log_pytest', log))).toEqual({
      'tests/test_a.py::test_plain': 'PASSED',
      'tests/test_a.py::test_param[a': 'PASSED',
      'tests/test_a.py::test_cut[x': 'FAILED',
      'tests/test_b.py': 'ERROR',
      'tests/test_a.py::test_x': 'XFAIL',
      file: 'ERROR:',
    });
  });

  it('takes a carriage return for the end of a line, as Python does', () => {
    expect([...parseLog('parse_log_pytest', 'PASSED a::b\r\nx\rFAILED c::d - e')]).toEqual([
      ['a::b', 'PASSED'],
      ['c::d', 'FAILED'],
    ]);
  });
});

describe('parse_log_pytest_v2', () => {
  it('keeps spaces, drops colours and reads the status at the end of a line too', () => {
    expect(
      Object.fromEntries(parseLog('parse_log_pytest_v2', `${log}\n\u001b[32mPASSED\u001b[0m t::c`)),
    ).toEqual({
      'tests/test_a.py::test_plain': 'PASSED',
      'tests/test_a.py::test_param[a b]': 'PASSED',
      'tests/test_a.py::test_param[a c]': 'PASSED',
      'tests/test_a.py::test_cut[x': 'FAILED',
      'tests/test_b.py - ModuleNotFoundError: No module named z': 'ERROR',
      'tests/test_a.py::test_x - known': 'XFAIL',
      'file not found: q': 'ERROR:',
      'tests/test_a.py::test_old': 'PASSED',
      't::c': 'PASSED',
    });
  });
});

describe('spelling of a node id', () => {
  it.each([
    ['parse_log_pytest', 'a.py::t[x y]', 'a.py::t[x'],
    ['parse_log_pytest', 'a.py::t[x\u00a0y]', 'a.py::t[x'],
    ['parse_log_pytest', 'a.py::t[x\ufeffy]', 'a.py::t[x\ufeffy]'],
    ['parse_log_pytest_v2', 'a.py::t[x  y]', 'a.py::t[x y]'],
  ] as const)('%s spells %j as %j', (parser, id, wanted) => {
    expect(parserSpelling(parser, id)).toBe(wanted);
  });
});

describe('lists that the parser can read', () => {
  const lists = (f2p: string[], p2p: string[], lines: string[], others: string[] = []) =>
    parsedLists(
      { FAIL_TO_PASS: f2p, PASS_TO_PASS: p2p },
      { log: lines.join('\n'), allTests: [...f2p, ...p2p, ...others] },
      'parse_log_pytest',
    );

  it('drops every test of a colliding name, listed or not, and counts only the listed', () => {
    expect(
      lists(
        ['f::a[1 2]', 'f::b'],
        ['f::a[1 3]', 'f::c[x y]'],
        ['PASSED f::a[1 2]', 'PASSED f::a[1 3]', 'PASSED f::b', 'PASSED f::c[x y]'],
        ['f::c[x z]'],
      ),
    ).toEqual({ failToPass: ['f::b'], passToPass: [], colliding: 3, unread: 0 });
  });

  it('drops a cut name that begins another name, because the harness would match it as a prefix', () => {
    expect(lists(['f::a[1 2]'], ['f::a[10]'], ['PASSED f::a[1 2]', 'PASSED f::a[10]'])).toEqual({
      failToPass: [],
      passToPass: ['f::a[10]'],
      colliding: 1,
      unread: 0,
    });
  });

  it('drops what gold did not visibly pass, such as an XPASS', () => {
    expect(
      lists(
        ['f::a'],
        ['f::b', 'f::c', 'f::d'],
        ['PASSED f::a', 'XPASS f::b', 'FAILED f::c - x', 'XFAIL f::d - y'],
      ),
    ).toEqual({
      failToPass: ['f::a'],
      passToPass: ['f::d'],
      colliding: 0,
      unread: 2,
    });
  });

  it('a row that the plain parser would cut gets the one that keeps whole ids, every other row the plain one', () => {
    const best = (f2p: string[]) =>
      bestParsedLists(
        { FAIL_TO_PASS: f2p, PASS_TO_PASS: [] },
        { log: f2p.map((id) => `PASSED ${id}`).join('\n'), allTests: f2p },
      );
    expect(best(['f::a[1 2]', 'f::a[1 3]'])).toEqual({
      parser: 'parse_log_pytest_v2',
      failToPass: ['f::a[1 2]', 'f::a[1 3]'],
      passToPass: [],
      colliding: 0,
      unread: 0,
    });
    expect(best(['f::a[1]', 'f::b[x y]'])).toMatchObject({
      parser: 'parse_log_pytest',
      failToPass: ['f::a[1]', 'f::b[x'],
    });
  });
});
