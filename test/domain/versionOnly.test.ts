import { expect, test } from 'vitest';
import { isVersionOnly } from '../../src/domain/versionOnly.ts';

const versions = { base: '5.3.0', head: '5.3.1' };
const rows: readonly (readonly [boolean, string, string])[] = [
  [true, 'tests/test_v.py::test_version', "AssertionError: assert '5.3.0' == '5.3.1'"],
  [true, 'tests/test_v.py::test_banner', "assert 'tool 5.3.0' == 'tool 5.3.1'\n  - tool 5.3.1"],
  [true, 'tests/test_v.py::T::test_x', "AssertionError: '5.3.0' != '5.3.1'"],
  [true, 'tests/test_v.py::test_package_version', "AssertionError: '5.3.0' not in changelog"],
  [false, 'tests/test_v.py::test_parse', 'assert 1 == 2'],
  [false, 'tests/test_v.py::test_version_order', 'assert [1] == [2]'],
  [false, 'tests/test_v.py::test_parse', "assert parse('15.3.0') == parse('5.3.1.2')"],
  [false, 'tests/test_v.py::test_parse', "assert ['5.3.0', 'a'] == ['5.3.1', 'b']"],
  [false, 'tests/test_v.py::test_version', ''],
];
test.each(rows)('%s: %s failing with %j is explained by the version alone', (expected, id, message) => {
  expect(isVersionOnly(id, message, versions)).toBe(expected);
});

test('without known versions nothing is explained by them', () => {
  expect(isVersionOnly('a.py::test_version', "assert '1' == '2'", { base: '', head: '' })).toBe(false);
});
