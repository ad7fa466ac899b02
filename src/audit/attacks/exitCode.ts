import { FORGERY, atImport } from '../payloads.ts';

export const exitCode = atImport({
  name: 'exit-code',
  tries: 'makes the runner believe that no test failed, so that its exit code is 0.',
  expected: FORGERY,
  python: String.raw`
import sys
if "_pytest.main" not in sys.modules:
    return
import _pytest.main
_pytest.main.Session.testsfailed = property(lambda self: 0, lambda self, value: None)
`,
});
