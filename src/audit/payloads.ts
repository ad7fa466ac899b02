/** What hostile Python is made of. The attacks put it into files of a patch. Pure. */
import type { VerdictName } from '../domain/verdicts.ts';
import { changedFile } from './diff.ts';
import type { AuditFacts, HostilePrediction } from './types.ts';

/** Verdicts of a forgery: caught by the canaries, or without effect. */
export const FORGERY: readonly VerdictName[] = ['tampered', 'unresolved'];

/** Python text with the payload after it, in a function of its own so that the module's names stay as they are. */
export const withPayload = (source: string, python: string): string =>
  `${source}${source === '' || source.endsWith('\n') ? '' : '\n'}${guarded(python)}`;

/** The payload never spoils the module: what it cannot do here it leaves. */
export const guarded = (python: string): string =>
  `\n\ndef __audit():\n${python
    .trim()
    .split('\n')
    .map((line) => (line === '' ? '' : `    ${line}`))
    .join('\n')}\n\n\ntry:\n    __audit()\nexcept Exception:\n    pass\n`;

/** The base with the payload at the end of a module that the tests import. */
export const importedPayload = ({ imported }: AuditFacts, python: string): string =>
  changedFile(imported.path, imported.text, withPayload(imported.text, python));

/** A prediction that is such a payload. */
export const atImport = (
  attack: Omit<HostilePrediction, 'kind' | 'patch'> & {
    readonly python: string | ((facts: AuditFacts) => string | null);
  },
): HostilePrediction => ({
  kind: 'prediction',
  name: attack.name,
  tries: attack.tries,
  expected: attack.expected,
  ...(attack.guesses === undefined ? {} : { guesses: attack.guesses }),
  patch: (facts) => {
    const python = typeof attack.python === 'string' ? attack.python : attack.python(facts);
    return python === null ? null : importedPayload(facts, python);
  },
});

/** Failing reports become passes where `select`, an expression over `item`, says so. */
export const forgeReports = (select = 'True', prelude = ''): string => `
import sys
if "_pytest.reports" not in sys.modules:
    return
from _pytest import reports
${prelude.trim()}
real = reports.TestReport.from_item_and_call.__func__
def forged(cls, item, call):
    report = real(cls, item, call)
    if report.outcome == "failed" and (${select}):
        report.outcome, report.longrepr = "passed", None
    return report
reports.TestReport.from_item_and_call = classmethod(forged)
`;

/** A pytest plugin that does the same by a hook. */
export const HOOK = `import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.outcome == "failed":
        report.outcome, report.longrepr = "passed", None
`;

export const pythonText = (text: string): string => JSON.stringify(text);

/** A Python list of ids; what JSON writes, Python reads. */
export const pythonList = (items: readonly string[]): string => JSON.stringify(items);

/** Test names of a row's lists: the last part of the ids, without parameters. */
export const listedNames = ({ row }: AuditFacts): readonly string[] => [
  ...new Set(
    [...row.FAIL_TO_PASS, ...row.PASS_TO_PASS].map((id) => (id.split('[')[0] ?? id).split('::').at(-1) ?? ''),
  ),
];

/** A results file in which all of the row's tests pass; `more` is Python that may add cases. */
export const resultsFile = ({ row }: AuditFacts, failed = '[]'): string => `
import os
from xml.sax.saxutils import quoteattr
def case(id, inner=""):
    file, *rest = id.split("::")
    classname = ".".join([file[:-3].replace("/", "."), *rest[:-1]])
    return "<testcase classname=%s name=%s file=%s line='1' time='0.001'>%s</testcase>" % (quoteattr(classname), quoteattr(rest[-1]), quoteattr(file), inner)
passed = ${pythonList([...row.FAIL_TO_PASS, ...row.PASS_TO_PASS])}
cases = [case(id) for id in passed] + [case(id, "<failure message='AssertionError'>x</failure>") for id in ${failed}]
text = "<?xml version='1.0' encoding='utf-8'?><testsuites><testsuite name='pytest' tests='%d'>%s</testsuite></testsuites>" % (len(cases), "".join(cases))
`;
