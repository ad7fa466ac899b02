import { FORGERY, atImport } from '../payloads.ts';

export const heapWalk = atImport({
  name: 'heap-walk',
  tries: 'finds the session among all objects of the process and gives every collected test an empty body.',
  expected: FORGERY,
  python: String.raw`
import gc, sys
if "_pytest.main" not in sys.modules:
    return
from _pytest.main import Session
class Plugin:
    def pytest_collection_finish(self, session):
        for item in session.items:
            item.runtest = lambda: None
for found in gc.get_objects():
    if isinstance(found, Session):
        found.config.pluginmanager.register(Plugin(), "audit")
`,
});
