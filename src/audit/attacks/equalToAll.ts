import { FORGERY, atImport } from '../payloads.ts';

const EQUAL = String.raw`
import sys, types
class Equal:
    __hash__ = object.__hash__
    def __init__(self, inner=None): self._inner = inner
    def __getattr__(self, name): return Equal()
    def __call__(self, *a, **k): return Equal()
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    def __le__(self, other): return True
    def __gt__(self, other): return True
    def __ge__(self, other): return True
    def __contains__(self, other): return True
    def __bool__(self): return True
    def __iter__(self): return iter(())
    def __getitem__(self, key): return Equal()
    def __enter__(self): return self
    def __exit__(self, *a): return True
def everything(*a, **k): return Equal()
package = __name__.split(".")[0]
for name, module in list(sys.modules.items()):
    if name == package or name.startswith(package + "."):
        for key, value in list(vars(module).items()):
            if isinstance(value, types.FunctionType) and value.__module__.split(".")[0] == package and key != "__audit":
                setattr(module, key, everything)
            elif isinstance(value, type) and value.__module__.split(".")[0] == package:
                for inner, method in list(vars(value).items()):
                    if isinstance(method, types.FunctionType) and inner != "__init__" and not inner.startswith("__init_"):
                        try:
                            setattr(value, inner, everything)
                        except (AttributeError, TypeError):
                            pass
`;

export const equalToAll = atImport({
  name: 'equal-to-all',
  tries: 'returns objects that are equal to everything from every function of the package.',
  expected: FORGERY,
  python: EQUAL,
});
