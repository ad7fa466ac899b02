"""What a test asks for: the literals that its assertions compare with, where they surely do; part of canaries.py.

Only plain values that are compared exactly: whoever asks for another must fail under every solution that the test passes under.
"""

import ast
import collections
import functools
import itertools
import re


# Exact ones only: within a tolerance other values may be right under another solution.
EQUALS = re.compile(r"assert_?(array_|list_|tuple_|dict_|set_|sequence_|multi_?line_)?equals?|assert_string_equal", re.IGNORECASE)
# Makes of other arguments another value, whatever the code under test does.
CONSTRUCTOR = re.compile(r"set|frozenset|list|tuple|dict|bytes|bytearray|str|int|float|complex|date|time|datetime|timedelta"
                         r"|Decimal|Fraction|OrderedDict|Counter|dedent|join")
# Contexts that run their body whole, and let its exceptions out.
CONTEXT = re.compile(r"(.*\.)?(subTest|catch_warnings|warns|assertWarns|open|TemporaryDirectory|nullcontext|redirect_std(out|err)"
                     r"|patch(\.\w+)*|context)\b")
PARAMETRIZE = re.compile(r"(parametrize|parameterize)")


@functools.lru_cache(maxsize=None)
def parameters_asked(node):
    """The values of a parameter that is there only to be compared with: what each parametrisation expects."""
    sides = [side.id for one in executed(node) for side in compared(one) if isinstance(side, ast.Name)]
    uses = [one.id for one in ast.walk(ast.Module(body=node.body, type_ignores=[])) if isinstance(one, ast.Name)]
    for decorator in node.decorator_list:
        call = decorator if isinstance(decorator, ast.Call) and PARAMETRIZE.search(ast.unparse(decorator.func)) else None
        if call is None or len(call.args) != 2 or not isinstance(call.args[1], (ast.List, ast.Tuple)):
            continue
        if any(one.arg != "ids" for one in call.keywords):
            continue  # indirect ones are what a fixture is given
        try:
            names = ast.literal_eval(call.args[0])
        except ValueError:
            continue
        names = [one.strip() for one in names.split(",")] if isinstance(names, str) else list(names)
        for place, name in enumerate(names):
            if name in sides and sides.count(name) == uses.count(name):
                rows = call.args[1].elts
                return [(row, cell) for row in rows for cell in cells_of(row, len(names))[place : place + 1]]
    return []


def cells_of(row, count):
    if isinstance(row, ast.Call) and ast.unparse(row.func).endswith("param"):
        return row.args
    if count > 1:
        return row.elts if isinstance(row, (ast.Tuple, ast.List)) else []
    return [row]


@functools.lru_cache(maxsize=None)
def reachable(node):
    """Statements of a body, until something can leave the function."""
    ends = (ast.Return, ast.Break, ast.Continue)
    leaves = lambda one: isinstance(one, ast.Raise) or any(isinstance(inner, ends) for inner in walk_same_function(one))
    return list(itertools.takewhile(lambda statement: not leaves(statement), node.body))


@functools.lru_cache(maxsize=None)
def executed(node):
    """Those and the ones inside contexts and loops that surely run."""
    found = []
    for statement in reachable(node):
        found.append(statement)
        if isinstance(statement, ast.With) and all(CONTEXT.match(ast.unparse(one.context_expr)) for one in statement.items):
            found.extend(executed(statement))
        elif isinstance(statement, ast.For) and getattr(statement.iter, "elts", None):
            found.extend(executed(statement))
    return found


def walk_same_function(node):
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            yield from walk_same_function(child)


def compared(statement):
    """The two sides of an assertion that something equals something, or is it; none for any other."""
    if isinstance(statement, ast.Assert):
        test = statement.test
        if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], (ast.Eq, ast.Is)):
            return [test.left, test.comparators[0]]
        return []
    call = statement.value if isinstance(statement, ast.Expr) else None
    if not isinstance(call, ast.Call) or len(call.args) < 2:
        return []
    called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return call.args[:2] if EQUALS.fullmatch(called) else []


@functools.lru_cache(maxsize=None)
def literals_of(node):
    """What a test's assertions ask for: (the assertion, the statement with the constant, the constant)."""
    statements = executed(node)
    asked = [(one, side) for one in statements if len(compared(one)) == 2 for side in expected_of(*compared(one))]
    names = collections.Counter(one.id for one in ast.walk(node) if isinstance(one, ast.Name))
    found = [(asking, asking, constant) for asking, side in asked for constant in constants_of(side)]
    for one in statements:
        name = one.targets[0] if isinstance(one, ast.Assign) and len(one.targets) == 1 else None
        asking = [asking for asking, side in asked if isinstance(side, ast.Name) and isinstance(name, ast.Name) and side.id == name.id]
        # A name that is bound, asked for once, and serves nothing else, says what is asked as well as a literal does.
        if len(asking) == 1 and names[name.id] == 2 and is_plain(one.value):
            found += [(asking[0], one, constant) for constant in constants_of(one.value)]
    return found


def expected_of(left, right):
    """The side of a comparison that is made of plain values, where the other is not."""
    if is_plain(left) == is_plain(right):
        return [side for side in (left, right) if isinstance(side, ast.Name)]
    return [left if is_plain(left) else right]


def is_plain(value):
    """Whether nothing of the code under test is in a value but under names."""
    if isinstance(value, ast.Constant):
        return True
    inner = parts_of(value)
    return bool(inner) and all(isinstance(one, (ast.Name, ast.Attribute)) or is_plain(one) for one in inner)


def constants_of(value):
    """Constants that a value is made of: it is another value with others in their place."""
    if isinstance(value, ast.Constant) and type(value.value) in (int, float, str, bytes, bool):
        yield value
    for one in parts_of(value):
        yield from constants_of(one)


def parts_of(value):
    if isinstance(value, (ast.List, ast.Tuple, ast.Set)):
        return value.elts
    if isinstance(value, ast.Dict):
        return [*filter(None, value.keys), *value.values]
    if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
        return [value.operand]
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
        return [value.left, value.right]
    if isinstance(value, ast.Call):
        called = value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "")
        return value.args + [one.value for one in value.keywords] if CONSTRUCTOR.fullmatch(called) else []
    return []
