"""What a careless hand writes instead of what, and where; part of mutations.py."""

import ast
import re

LONGEST_DROP = 8  # lines; more is no slip but another program

ARITHMETIC = {ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "+"), ast.Div: ("/", "*"), ast.FloorDiv: ("//", "/"),
              ast.Mod: ("%", "//"), ast.Pow: ("**", "*"), ast.BitOr: ("|", "&"), ast.BitAnd: ("&", "|"),
              ast.BitXor: ("^", "|"), ast.LShift: ("<<", ">>"), ast.RShift: (">>", "<<")}
COMPARED = {ast.Eq: (r"==", ["!="]), ast.NotEq: (r"!=", ["=="]), ast.Lt: (r"<", ["<=", ">"]), ast.LtE: (r"<=", ["<", ">="]),
            ast.Gt: (r">", [">=", "<"]), ast.GtE: (r">=", [">", "<="]), ast.In: (r"in", ["not in"]),
            ast.NotIn: (r"not\s+in", ["in"]), ast.Is: (r"is", ["is not"]), ast.IsNot: (r"is\s+not", ["is"])}
SEPARATORS = {"": " ", " ": "", ",": ";", ", ": ",", ";": ",", "-": "_", "_": "-", ".": ",", ":": ".", "/": "\\\\", "\\n": " "}


def both(pairs):
    return {**pairs, **{other: one for one, other in pairs.items()}}


NAMES = {**both({"min": "max", "any": "all"}), "sorted": "list", "reversed": "list", "abs": "int", "round": "int"}
ATTRIBUTES = {
    **both({"lower": "upper", "startswith": "endswith", "lstrip": "rstrip", "split": "rsplit", "ljust": "rjust", "keys": "values",
            "partition": "rpartition", "popleft": "pop", "floor": "ceil", "removeprefix": "removesuffix", "union": "intersection",
            "issubset": "issuperset", "match": "search", "isdigit": "isalpha", "islower": "isupper", "title": "capitalize",
            "bisect_left": "bisect_right", "add": "discard", "days": "seconds", "year": "month", "hour": "minute",
            "real": "imag", "numerator": "denominator", "appendleft": "append"}),
    "strip": "rstrip", "rfind": "find", "rindex": "index", "fullmatch": "match", "casefold": "upper",
}
for name in ("append", "pop"):  # of a list, as a rule, which knows no other side
    del ATTRIBUTES[name]
QUIET = re.compile(r"(print|warn|warnings?\.\w+|_?log(ger|ging)?\.\w+|_?log|self\._?log(ger)?\.\w+)$", re.IGNORECASE)
# Their arguments have types of their own: swapped they fail at once.
FIXED_ORDER = re.compile(r"^(isinstance|issubclass|getattr|hasattr|setattr|delattr|super|range|open|print|cast|TypeVar|map|filter"
                         r"|enumerate|field|namedtuple)$")
UNFIT_DECORATORS = re.compile(r"\b(overload|abstractmethod|abstractproperty|deprecated)\b")


def own_jumps(statements):
    """break and continue of this very loop."""
    for node in statements:
        if isinstance(node, (ast.Break, ast.Continue)):
            yield node
        elif isinstance(node, (ast.If, ast.With, ast.AsyncWith, ast.Try)):
            for field in ("body", "orelse", "finalbody"):
                yield from own_jumps(getattr(node, field, []))
            for handler in getattr(node, "handlers", []):
                yield from own_jumps(handler.body)


def is_docstring(node):
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def is_text(node):
    return isinstance(node, ast.JoinedStr) or isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))


def is_single(node):
    return isinstance(node, ast.Compare) and len(node.ops) == 1


def is_truth(node):
    called = node.func if isinstance(node, ast.Call) else None
    name = getattr(called, "attr", None) or getattr(called, "id", "")
    return isinstance(node, ast.BoolOp) or bool(
        re.match(r"(isinstance|issubclass|any|all|bool|callable|hasattr|startswith|endswith|is_?[a-z]+|has_\w+)$", name))


def whole(node):
    """Value of a whole number that is written as one, also below zero; else None."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = whole(node.operand)
        return None if inner is None or isinstance(node.operand, ast.UnaryOp) else -inner
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    return None
