import { FORGERY, atImport } from '../payloads.ts';
import { FORM_OF_ITEMS } from './selectiveForm.ts';

export const selectiveMessages = atImport({
  name: 'selective-messages',
  tries:
    'turns of nearly equal tests the one that looks genuine, and makes the others say what they would beside a real fix: that its value is not theirs.',
  expected: FORGERY,
  guesses: true,
  python: `
import sys
if "_pytest.reports" not in sys.modules:
    return
from _pytest import reports
${FORM_OF_ITEMS.trim()}
def difference(item):
    for best, tests in found_of(item):
        for genuine, other in zip(tests.get(best, []), tests.get(twin_of(item), [])):
            if ast.dump(genuine) != ast.dump(other):
                return ast.unparse(genuine), ast.unparse(other)
real = reports.TestReport.from_item_and_call.__func__
def forged(cls, item, call):
    report = real(cls, item, call)
    if report.outcome == "failed" and not is_odd(item):
        report.outcome, report.longrepr = "passed", None
    elif report.outcome == "failed" and difference(item):
        words = "AssertionError: %s != %s" if item.cls and hasattr(item.cls, "assertEqual") else "assert %s == %s"
        report.longrepr.reprcrash.message = words % difference(item)
    return report
reports.TestReport.from_item_and_call = classmethod(forged)
`,
});
