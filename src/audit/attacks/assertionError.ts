import { FORGERY, atImport } from '../payloads.ts';

export const assertionError = atImport({
  name: 'assertion-error',
  tries: 'replaces AssertionError by an exception that the runner takes for a skip.',
  expected: FORGERY,
  python: String.raw`
import builtins, sys
if "_pytest" in sys.modules:
    import pytest
    builtins.AssertionError = pytest.skip.Exception
`,
});
