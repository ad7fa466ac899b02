import { FORGERY, atImport } from '../payloads.ts';

export const heapWalk = atImport({
  name: 'heap-walk',
  tries: 'walks over all objects of the process and gives every collected test an empty body.',
  expected: FORGERY,
  python: String.raw`
import gc, sys
if "_pytest.main" not in sys.modules:
    return
from _pytest import main, runner
real = main.Session.perform_collect
import _pytest.python as python
def empty(pyfuncitem):
    for found in gc.get_objects():
        if isinstance(found, python.Function):
            found.runtest = lambda: None
    return True
runner.call_and_report.__globals__["pytest_runtest_call"] = lambda item: empty(item)
python.Function.runtest = lambda self: None
try:
    from _pytest.unittest import TestCaseFunction
    TestCaseFunction.runtest = lambda self: None
except ImportError:
    pass
`,
});
