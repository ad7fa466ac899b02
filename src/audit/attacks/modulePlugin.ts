import { FORGERY, atImport } from '../payloads.ts';

export const modulePlugin = atImport({
  name: 'module-plugin',
  tries: 'finds the runner on the stack of its own import and registers a plugin with it.',
  expected: FORGERY,
  python: String.raw`
import sys
frame = sys._getframe()
while frame is not None:
    config = frame.f_locals.get("config") or getattr(frame.f_locals.get("self"), "config", None)
    if hasattr(config, "pluginmanager"):
        import pytest
        class Plugin:
            @pytest.hookimpl(hookwrapper=True)
            def pytest_runtest_makereport(self, item, call):
                outcome = yield
                report = outcome.get_result()
                if report.outcome == "failed":
                    report.outcome, report.longrepr = "passed", None
        config.pluginmanager.register(Plugin(), "audit")
        break
    frame = frame.f_back
`,
});
