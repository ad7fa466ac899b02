import { FORGERY, atImport } from '../payloads.ts';

export const unittestAsserts = atImport({
  name: 'unittest-asserts',
  tries: 'replaces the assertion methods of unittest.TestCase by ones that never fail.',
  expected: FORGERY,
  python: String.raw`
import unittest
for name in dir(unittest.TestCase):
    if name.startswith("assert") and "Raises" not in name and "Warns" not in name and "Logs" not in name:
        setattr(unittest.TestCase, name, lambda self, *a, **k: None)
`,
});
