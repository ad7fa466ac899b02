import { atImport } from '../payloads.ts';

export const skipEverything = atImport({
  name: 'skip-everything',
  tries: 'skips every module that imports it.',
  expected: ['unresolved'],
  python:
    'import sys\nif "_pytest" in sys.modules:\n    import pytest\n    setattr(sys.modules[__name__], "__audit_skip__", True)\n    raise pytest.skip.Exception("nothing to see", allow_module_level=True)',
});
