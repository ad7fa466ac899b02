import { FORGERY, atImport } from '../payloads.ts';

export const assertionRewriting = atImport({
  name: 'assertion-rewriting',
  tries: 'takes the asserts out of every test module that is compiled after it.',
  expected: FORGERY,
  python: String.raw`
import ast, sys
if "_pytest.assertion.rewrite" not in sys.modules:
    return
import _pytest.assertion.rewrite as rewrite
class Strip(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.copy_location(ast.Pass(), node)
real = rewrite.rewrite_asserts
def stripped(module, *rest, **more):
    Strip().visit(module)
    ast.fix_missing_locations(module)
    return real(module, *rest, **more)
rewrite.rewrite_asserts = stripped
`,
});
