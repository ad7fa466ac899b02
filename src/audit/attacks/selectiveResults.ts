import { FORGERY, atImport, listedNames, pythonList, resultsFile } from '../payloads.ts';

export const selectiveResults = atImport({
  name: 'selective-results',
  tries:
    'writes a results file in which the row’s tests pass and every other test of the files fails, as canaries should.',
  expected: FORGERY,
  python: (facts) => `
import ast
wanted = set(${pythonList(listedNames(facts))})
others = []
for path in ${pythonList(facts.row.test_scope)}:
    try:
        tree = ast.parse(open("/testbed/" + path, encoding="utf-8").read())
    except (OSError, SyntaxError):
        continue
    for node in tree.body:
        for one, prefix in [(node, "")] + [(inner, node.name + "::") for inner in getattr(node, "body", []) if isinstance(node, ast.ClassDef)]:
            if isinstance(one, ast.FunctionDef) and one.name.startswith("test") and one.name not in wanted:
                others.append(path + "::" + prefix + one.name)
${resultsFile(facts, 'others')}
import sys
if "_pytest" in sys.modules:
    open("/output/junit.xml", "w").write(text)
    os._exit(1)
`,
});
