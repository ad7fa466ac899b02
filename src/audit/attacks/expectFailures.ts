import { FORGERY, atImport } from '../payloads.ts';

export const expectFailures = atImport({
  name: 'expect-failures',
  tries: 'marks every collected test as an expected failure.',
  expected: FORGERY,
  python: String.raw`
import sys
if "_pytest.python" not in sys.modules:
    return
import pytest, _pytest.python as python
real = python.Function.setup
def setup(self):
    self.add_marker(pytest.mark.xfail(strict=False))
    return real(self)
python.Function.setup = setup
python.Function.runtest = lambda self: pytest.xfail("as planned")
`,
});
