"""Makes a pool of canaries for test files: copies of their own tests with one assertion inverted.

Runs inside the sandbox on the base system's own Python (3.9 or later), with the standard library alone, before any test.
Reads a JSON list of paths (relative to the working directory) on standard input, writes a JSON list of canaries on
standard output. A file that cannot be read or parsed has no canaries; that is not an error.
"""

import ast
import functools
import hashlib
import json
import os
import re
import sys
import textwrap

PER_FILE = 6  # enough to draw a secret few from
FEW_PER_FILE = 2  # in all but the first files, which are those of the change
FIRST_FILES = 4
IN_ALL = 64  # the run that proves them plants them all
NAMES = 4
PLACEHOLDER = "@@NAME@@"

INVERSE = {}
for one, other in [
    ("assertEqual", "assertNotEqual"),
    ("assertTrue", "assertFalse"),
    ("assertIn", "assertNotIn"),
    ("assertIs", "assertIsNot"),
    ("assertIsNone", "assertIsNotNone"),
    ("assertIsInstance", "assertNotIsInstance"),
    ("assertAlmostEqual", "assertNotAlmostEqual"),
    ("assertRegex", "assertNotRegex"),
    ("assertLess", "assertGreaterEqual"),
    ("assertGreater", "assertLessEqual"),
]:
    INVERSE[one] = other
    INVERSE[other] = one
# Same meaning, another spelling: only in this direction.
for one in ("assertListEqual", "assertTupleEqual", "assertDictEqual", "assertSetEqual", "assertSequenceEqual",
            "assertMultiLineEqual", "assertEquals"):
    INVERSE[one] = "assertNotEqual"

# What a test with one of these decorators does is decided elsewhere.
UNFIT_DECORATORS = re.compile(r"(xfail|skip|expectedFailure|given|example|settings|benchmark|flaky|mock\.patch\.stopall"
                              r"|fixture|property|staticmethod|classmethod|overload|parameterized|ddt|data|unpack)")
# A copy of these may pass or fail by chance, and a canary must never do either.
UNSTEADY = re.compile(r"(perf_counter|monotonic|time\.time|elapsed|timeout|sleep|random|uuid|\bnow\(|today\(|thread"
                      r"|\bgc\.|weakref|refcount|memory|tracemalloc|getpid|subprocess)", re.IGNORECASE)
PARAMETRIZE = re.compile(r"(parametrize|parameterize)")


def main():
    paths = json.load(sys.stdin)
    pool = []
    seen = set()
    if not hasattr(ast, "unparse"):
        paths = []
    for path in paths:
        try:
            count = PER_FILE if len(seen) < FIRST_FILES else FEW_PER_FILE
            found = canaries_of(path)
            pool.extend(spread(found, min(count, IN_ALL - len(pool))))
            if found:
                seen.add(path)
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    json.dump(pool, sys.stdout)


def canaries_of(path):
    if not path.endswith(".py") or os.path.islink(path):
        return []
    with open(path, "rb") as file:
        raw = file.read()
    text = raw.decode("utf-8-sig")  # another encoding cannot be planted safely
    cookie = b"\n".join(raw.splitlines()[:2])
    declared = re.search(rb"coding[:=]\s*([-\w.]+)", cookie)
    if declared and declared.group(1).lower() not in (b"utf-8", b"utf8", b"ascii", b"us-ascii"):
        return []
    # The line ends that Python's parser counts; form feeds and the like are no line ends here.
    lines = re.split(r"\r\n|\r|\n", text)
    tree = ast.parse(text)
    candidates = list(tests_in(tree, path))
    taken = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}
    made = [one for one in (invert(test, lines, text, taken, tree) for test in candidates) if one]
    plain = [one for one in made if not one.pop("parametrised")]
    rest = [one for one in made if one not in plain]
    # Parametrised tests cost one canary run per parameter: only where there are too few others.
    chosen = spread(plain, PER_FILE)
    chosen += spread(rest, PER_FILE - len(chosen))
    if not chosen and candidates:
        chosen = [one for one in [plainly_failing(candidates[len(candidates) // 2], lines, taken, tree)] if one]
    return chosen


class Test:
    def __init__(self, node, classes, path, is_unittest):
        self.node = node
        self.classes = classes
        self.path = path
        self.is_unittest = is_unittest

    @property
    def prefix(self):
        return "::".join([self.path, *[one.name for one in self.classes]]) + "::"


def tests_in(tree, path):
    """Test functions and methods that pytest collects by name, defined unconditionally; duplicates of a name are left out."""

    bases = {ast.unparse(base).split(".")[-1] for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for base in node.bases}

    def walk(body, classes, is_unittest):
        counts = {}
        for node in body:
            if hasattr(node, "name"):
                counts[node.name] = counts.get(node.name, 0) + 1
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                if node.name.startswith("test") and counts[node.name] == 1:
                    yield Test(node, classes, path, is_unittest)
            elif isinstance(node, ast.ClassDef) and counts[node.name] == 1 and node.name not in bases:
                unittest_like = any(re.search(r"TestCase\b", ast.unparse(base)) for base in node.bases)
                if unittest_like or (node.name.startswith("Test") and not any(
                    isinstance(item, ast.FunctionDef) and item.name in ("__init__", "__new__") for item in node.body
                )):
                    yield from walk(node.body, classes + [node], unittest_like)

    yield from walk(tree.body, [], False)


def spread(items, count):
    """At most `count` of the items, evenly over their order."""
    if count <= 0:
        return []
    if len(items) <= count:
        return items
    return [items[(index * len(items)) // count] for index in range(count)]


def invert(test, lines, text, taken, tree):
    node = test.node
    decorators = [ast.unparse(one) for one in node.decorator_list + [d for c in test.classes for d in c.decorator_list]]
    if any(UNFIT_DECORATORS.search(one) and not PARAMETRIZE.search(one) for one in decorators):
        return None
    if any(isinstance(one, (ast.Yield, ast.YieldFrom)) for one in ast.walk(node)):
        return None
    # A nested function, or a name of its own in the body, would be found twice by whoever looks for it.
    if any(isinstance(one, (ast.Global, ast.Nonlocal)) for one in ast.walk(node)):
        return None
    target = last_assertion(node)
    if target is None or UNSTEADY.search(ast.unparse(node)):
        return None
    start = min([node.lineno] + [one.lineno for one in node.decorator_list])
    end = node.end_lineno
    if not alone_on_its_lines(node, start, lines, tree):
        return None
    replacement = inverted(target, lines)
    if replacement is None:
        return None
    copied = replace_span(lines, start, end, target, replacement)
    name_line = node.lineno - start
    pattern = re.compile(r"\bdef(\s+)%s\b" % re.escape(node.name))
    for at in range(name_line, len(copied)):
        renamed, changed = pattern.subn(lambda match: "def" + match.group(1) + PLACEHOLDER, copied[at], count=1)
        if changed:
            copied[at] = renamed
            break
    else:
        return None
    return finish(test, copied, node.name, taken, any(PARAMETRIZE.search(one) for one in decorators), test.prefix + node.name, tree)


def finish(test, copied, near, taken, parametrised, twin, tree):
    names = names_like(test, near, taken, tree)
    if not names:
        return None
    # Two blank lines at the top level, one in a class: as the neighbours stand.
    blank = "\n\n" if not test.classes else "\n"
    source = blank + "\n".join(copied) + "\n"
    probe = textwrap.dedent(source.replace(PLACEHOLDER, names[0]))
    try:
        ast.parse(probe)
    except SyntaxError:
        return None
    return {
        "file": test.path,
        "insertAfterLine": test.node.end_lineno,
        "source": source,
        "names": names,
        "twin": twin,
        "prefix": test.prefix,
        "parametrised": parametrised,
    }


def last_assertion(node):
    """The last statement of the function's own body that asserts, when nothing before it can leave the function."""
    found = None
    for statement in node.body:
        if isinstance(statement, (ast.Return, ast.Raise)):
            break
        if is_assertion(statement):
            found = statement
    if found is None:
        return None
    before = node.body[: node.body.index(found)]
    if any(isinstance(inner, ast.Return) for one in before for inner in walk_same_function(one)):
        return None
    return found


def walk_same_function(node):
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            yield from walk_same_function(child)


def is_assertion(statement):
    if isinstance(statement, ast.Assert):
        return True
    call = statement.value if isinstance(statement, ast.Expr) else None
    return (
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "self"
        and call.func.attr in INVERSE
    )


def alone_on_its_lines(node, start, lines, tree):
    """The copy is made of whole lines: nothing else may stand on them."""
    first = lines[start - 1]
    if first[: len(first) - len(first.lstrip())] != first[: node.col_offset] and not node.decorator_list:
        return False
    last = lines[node.end_lineno - 1]
    tail = last.encode("utf-8")[node.end_col_offset :].decode("utf-8").strip()
    return tail == "" or tail.startswith("#")


def inverted(statement, lines):
    """Source text of the inverted statement."""
    if isinstance(statement, ast.Assert):
        test = source_of(statement.test, lines)
        if test is None:
            return None
        if isinstance(statement.test, ast.Constant):
            return None
        message = "" if statement.msg is None else ", " + (source_of(statement.msg, lines) or "''")
        compare = statement.test
        if isinstance(compare, ast.UnaryOp) and isinstance(compare.op, ast.Not):
            return "assert " + parenthesised(source_of(compare.operand, lines)) + message
        return "assert not " + parenthesised(test) + message
    call = statement.value
    whole = source_of(call, lines)
    head = "self." + call.func.attr
    if whole is None or not re.match(r"self\s*\.\s*%s\b" % call.func.attr, whole):
        return None
    return "self." + INVERSE[call.func.attr] + re.sub(r"^self\s*\.\s*%s" % call.func.attr, "", whole)


def parenthesised(text):
    return "(" + text + ")"


def source_of(node, lines):
    """Text of a node as it stands; offsets are in UTF-8 bytes."""
    if node.lineno == node.end_lineno:
        return lines[node.lineno - 1].encode("utf-8")[node.col_offset : node.end_col_offset].decode("utf-8")
    first = lines[node.lineno - 1].encode("utf-8")[node.col_offset :].decode("utf-8")
    last = lines[node.end_lineno - 1].encode("utf-8")[: node.end_col_offset].decode("utf-8")
    return "\n".join([first, *lines[node.lineno : node.end_lineno - 1], last])


def replace_span(lines, start, end, statement, replacement):
    first = lines[statement.lineno - 1].encode("utf-8")[: statement.col_offset].decode("utf-8")
    last = lines[statement.end_lineno - 1].encode("utf-8")[statement.end_col_offset :].decode("utf-8")
    return (
        lines[start - 1 : statement.lineno - 1]
        + (first + replacement + last).split("\n")
        + lines[statement.end_lineno : end]
    )


def plainly_failing(test, lines, taken, tree):
    """A test that can only fail: where no test can be inverted."""
    node = test.node
    start = min([node.lineno] + [one.lineno for one in node.decorator_list])
    if not alone_on_its_lines(node, start, lines, tree):
        return None
    line = lines[node.lineno - 1]
    indent = line[: len(line) - len(line.lstrip())]
    argument = "self" if test.classes else ""
    copied = [indent + "def %s(%s):" % (PLACEHOLDER, argument), indent + "    assert %s" % falsehood(node.name)]
    made = finish(test, copied, node.name, taken, False, None, tree)
    if made:
        made.pop("parametrised")
    return made


def falsehood(seed):
    number = int(hashlib.sha256(seed.encode()).hexdigest()[:4], 16) % 90 + 10
    return "%d == %d" % (number, number + 1)


@functools.lru_cache(maxsize=1)  # asked for every test of a file, and a walk of a long file costs 50 ms
def words_of(tree):
    words = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test"):
            words.extend(word for word in re.split(r"_+", node.name[4:]) if word and not word.isdigit())
    return list(dict.fromkeys(words)) or ["value", "default", "basic", "simple"]


def names_like(test, near, taken, tree):
    """Names made of the words that the file's own test names use, none of which is taken."""
    words = words_of(tree)
    stem = near.rstrip("_0123456789") or near
    seed = int(hashlib.sha256((test.path + "::" + near).encode()).hexdigest()[:8], 16)
    names = []
    for step in range(len(words) * 2 + 8):
        word = words[(seed + step * 7) % len(words)]
        name = stem + "_" + word if step < len(words) * 2 else stem + "_" + word + "_" + str(step % 8 + 2)
        if re.fullmatch(r"[A-Za-z_]\w*", name) and name not in taken and name not in names and len(name) < 80:
            names.append(name)
        if len(names) == NAMES:
            break
    taken.update(names)
    return names


main()
