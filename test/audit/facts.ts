import type { AuditFacts } from '../../src/audit/types.ts';
import { makeRow } from '../evaluation/rows.ts';

const MODULE = 'def add(a, b):\n    return a - b\n';
const TESTS = 'from calc import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n';

/** Files of the base that the facts speak of. */
export const BASE_FILES = {
  'calc/__init__.py': MODULE,
  'tests/test_calc.py': TESTS,
  'pyproject.toml': '[project]\nname = "calc"\nversion = "1"\n',
  'setup.cfg': '[tool:pytest]\naddopts = -q\n',
};

/** Facts of a small made project. */
export const madeFacts: AuditFacts = {
  row: makeRow({
    FAIL_TO_PASS: ['tests/test_calc.py::test_add[é-"1"]', 'tests/test_calc.py::TestCalc::test_new'],
    PASS_TO_PASS: ['tests/test_calc.py::test_old'],
    test_scope: ['tests/test_calc.py'],
    environment: { ...makeRow().environment, lock: 'pytest==8.0.0\npytest-cov==5.0.0\n' },
  }),
  paths: Object.keys(BASE_FILES),
  imported: { path: 'calc/__init__.py', text: MODULE },
  roots: [''],
  tests: new Map([['tests/test_calc.py', TESTS]]),
  packaging: new Map(Object.entries(BASE_FILES).filter(([path]) => !path.includes('/'))),
  needle: 'return a + b  # the line that only gold has',
  hiddenTestLine: 'assert add("hidden", "test") == "hiddentest"',
};
