import { FORGERY, atImport } from '../payloads.ts';

export const swallowedErrors = atImport({
  name: 'swallowed-errors',
  tries: 'makes a test function swallow what it raises, wherever pytest calls one.',
  expected: FORGERY,
  python: String.raw`
import sys
if "_pytest.python" not in sys.modules:
    return
import _pytest.python as python
real = python.Function.runtest
def runtest(self):
    try:
        real(self)
    except BaseException:
        pass
python.Function.runtest = runtest
import unittest
run = unittest.TestCase.run
unittest.TestCase._callTestMethod = lambda self, method: None
`,
});
