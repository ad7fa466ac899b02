"""Makes a pool of canaries for test files: copies of their own tests that fail where the test passes.

In each copy literals that one assertion expects are exchanged, by secret choice, for what might as well have been the test's
own: of several such places a test and its copies are a random few of all combinations, so that the test is no more central than
any copy. Only one assertion, and none that the base's test of that name has, since how far a copy gets, or the base's text, would
tell it from the test. Where nothing can be exchanged, one copy has an assertion inverted, or a false one at its end. What still
tells copies apart: meaning (who knows the right answer, or reads a text); what occurs elsewhere; that people negate more rarely
than not. Tests that the change adds or edits come first, and get the most copies: their upstream text is not in the base's commit.

Runs inside the sandbox on the base system's own Python (3.9 or later), with the standard library alone, before any test.
Reads a JSON list of paths (relative to the working directory) on standard input, writes a JSON list of canaries on
standard output. A file that cannot be read or parsed has no canaries; that is not an error.
"""

import ast
import collections
import functools
import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
import textwrap

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # which -I leaves out
from expectations import PARAMETRIZE, constants_of, is_plain, literals_of, parameters_asked, reachable
from literals import SECRET, key_of, other_literals
from spans import replace_span, source_of, span_of, text_between

OF_CHANGE = 24  # copies of tests of the change in a file: enough to draw a secret few from
PER_TEST = 8  # copies of one test: among so many a forger must guess
PER_FILE = 6
FEW_PER_FILE = 2  # of a file that the change leaves, and of all but the first files
FIRST_FILES = 4
IN_ALL = 64  # the run that proves them plants them all
PLACES = 12
NAMES = 3
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
# What a test with one of these does may hang on its own name.
NAMED = re.compile(r"(snapshot|regression|approv|golden|cassette|vcr|betamax|image_compare|__name__|__qualname__|\brequest\b"
                   r"|_testMethodName|\.id\(\)|inspect\.|frame|co_name|CURRENT_TEST|shortDescription|datadir)")
OPPOSITE = {ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.In: ("in", "not in"), ast.NotIn: (r"not\s+in", "in"),
            ast.Is: ("is", "is not"), ast.IsNot: (r"is\s+not", "is"), ast.Lt: ("<", ">="), ast.GtE: (">=", "<"),
            ast.Gt: (">", "<="), ast.LtE: ("<=", ">")}


def main():
    paths = json.load(sys.stdin)
    pools = []
    if not hasattr(ast, "unparse"):
        paths = []
    base = Base()
    for path in paths:
        few = sum(1 for pool in pools if pool) >= FIRST_FILES
        try:
            pools.append(canaries_of(path, base, FEW_PER_FILE if few else PER_FILE))
        except Exception:  # one file that is odd in a way that nobody thought of leaves the others theirs
            continue
    # In turn, the first of each file first: many files of the change share the room.
    taken = [one for several in itertools.zip_longest(*pools) for one in several if one]
    json.dump(taken[:IN_ALL], sys.stdout)


class Base:
    """The base's own tests, out of the sandbox's one commit."""

    def __init__(self):
        self.tracked = self.paths("ls-tree", "-r", "-z", "--name-only", "HEAD")
        self.modified = self.paths("diff", "--name-only", "-z", "HEAD")

    def git(self, *arguments):
        return subprocess.run(["git", "-c", "core.quotePath=false", *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=False).stdout

    def paths(self, *arguments):
        return {os.fsdecode(one) for one in self.git(*arguments).split(b"\0") if one}

    def tests_of(self, path, now):
        """The base's tests of a file by prefix and name; those of now where the change leaves the file."""
        tests = now
        if path not in self.tracked:
            tests = []
        elif path in self.modified:
            try:
                tests = tests_in(ast.parse(self.git("show", "HEAD:" + path).decode("utf-8-sig")), path)
            except (SyntaxError, ValueError):
                tests = []
        return {(one.prefix, one.node.name): one.node for one in tests}


class Plan(collections.namedtuple("Plan", "test edits parametrised inverted by_row in_base")):
    """A copy that can be made: the test with edits (start, end, text), places being (line, column in bytes), the last place first."""


def canaries_of(path, base, count):
    """Up to OF_CHANGE copies of tests of the change, and with others up to `count`; FEW_PER_FILE others at least."""
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
    file = File(text, lines, tree, taken, candidates)
    old = base.tests_of(path, candidates)
    made = [plans for plans in (plans_of(test, file, old.get((test.prefix, test.node.name))) for test in candidates) if plans]
    of_change = [plans for plans in made if not plans[0].in_base]
    others = [plans[0] for plans in made if plans[0].in_base]
    # Half of the room for one copy of many tests, half for many copies of few.
    firsts = preferred([plans[0] for plans in of_change], OF_CHANGE // 2)
    rounds = itertools.zip_longest(*[plans[1:] for plans in of_change if plans[0] in firsts])
    chosen = (firsts + [one for plans in rounds for one in plans if one])[:OF_CHANGE]
    room = max(count - len(chosen), FEW_PER_FILE)
    # Parametrised tests cost one canary run per parameter: only where there are too few others.
    beside = preferred([one for one in others if not one.parametrised], room)
    beside += preferred([one for one in others if one.parametrised], room - len(beside))
    canaries = [one for one in (copy_of(plan, file) for plan in chosen + beside) if one]
    if not canaries and candidates:
        canaries = [one for one in [plainly_failing(candidates[len(candidates) // 2], file)] if one]
    return canaries


class File:
    """A parsed test file, and what all of its tests ask of it."""

    def __init__(self, text, lines, tree, taken, tests):
        self.lines = lines
        self.tree = tree
        self.taken = taken
        self.tests = tests
        self.words = collections.Counter(re.findall(r"\w+", text))
        expected = [one for test in tests for _asking, _holder, one in literals_of(test.node)]
        expected += [one for test in tests for _row, cell in parameters_asked(test.node) for one in constants_of(cell)]
        self.expected = collections.Counter(key_of(one.value) for one in expected)
        self.spelled = {source_of(one, lines): one.value for one in expected}


class Test:
    def __init__(self, node, classes, path, heirs=(), inherits=False):
        self.node = node
        self.classes = classes
        self.path = path
        self.inherits = inherits  # from another class of the file
        self.prefix = "::".join([path, *[one.name for one in classes]]) + "::"
        # Of every class in which it is collected: its own and those that inherit it.
        self.prefixes = [path + "::" + one.name + "::" for one in heirs] or [self.prefix]


def tests_in(tree, path):
    """Test functions and methods that pytest collects by name, defined unconditionally; duplicates of a name are left out."""
    tops = {one.name: one for one in tree.body if isinstance(one, ast.ClassDef)}

    @functools.lru_cache(maxsize=None)
    def lineage(node):
        """The class and those of this file that it inherits from."""
        found = [node]
        for one in found:
            above = [tops.get(base.id) for base in one.bases if isinstance(base, ast.Name)]
            found.extend(base for base in above if base and base not in found)
        return found

    def is_collected(node):
        line = lineage(node)
        if any(re.search(r"TestCase\b", ast.unparse(base)) for one in line for base in one.bases):
            return True
        return node.name.startswith("Test") and not any({"__init__", "__new__"} & functions_of(one) for one in line)

    def heirs_of(node, name):
        """Classes of the file that collect the test of this class under this name."""
        for one in tops.values():
            line = lineage(one)
            if node in line and is_collected(one) and not any(name in functions_of(nearer) for nearer in line[: line.index(node)]):
                yield one

    def walk(body, classes):
        counts = collections.Counter(node.name for node in body if hasattr(node, "name"))
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                if node.name.startswith("test") and counts[node.name] == 1:
                    heirs = list(heirs_of(classes[0], node.name)) if len(classes) == 1 else []
                    if heirs or len(classes) != 1:
                        yield Test(node, classes, path, heirs, any(len(lineage(one)) > 1 for one in classes))
            elif isinstance(node, ast.ClassDef) and counts[node.name] == 1 and (not classes or is_collected(node)):
                yield from walk(node.body, classes + [node])

    yield from walk(tree.body, [])


def functions_of(node):
    return {one.name for one in node.body if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))}


def spread(items, count):
    """At most `count` of the items, evenly over their order."""
    if count <= 0:
        return []
    if len(items) <= count:
        return items
    return [items[(index * len(items)) // count] for index in range(count)]


def preferred(canaries, count):
    """At most `count`: inverted ones only where there are too few others."""
    chosen = spread([one for one in canaries if not one.inverted], count)
    return chosen + spread([one for one in canaries if one.inverted], count - len(chosen))


def plans_of(test, file, old):
    """Copies of a test, `old` being the base's of that name; none when a copy of it may pass or fail by chance."""
    node, lines = test.node, file.lines
    in_base = old is not None and ast.unparse(old) == ast.unparse(node)
    count = 1 if in_base else PER_TEST
    decorators = [ast.unparse(one) for one in node.decorator_list + [d for c in test.classes for d in c.decorator_list]]
    if any(UNFIT_DECORATORS.search(one) and not PARAMETRIZE.search(one) for one in decorators):
        return []
    # A name of its own in the body would be found twice by whoever looks for it.
    if any(isinstance(one, (ast.Yield, ast.YieldFrom, ast.Global, ast.Nonlocal)) for one in ast.walk(node)):
        return []
    if UNSTEADY.search(ast.unparse(node)) or not alone_on_its_lines(node, first_line(node), lines):
        return []
    known = set() if old is None or in_base else {ast.unparse(one) for one in ast.walk(old) if isinstance(one, (ast.stmt, ast.expr))}
    exchanged = combinations(exchanges(node, file, known), count)
    by_row = [] if exchanged else combinations_of_rows(parameters_asked(node), file, known, count)
    # Never both: an inverted copy beside them would show which of the others is the test.
    targets = [one for one in reachable(node) if is_assertion(one)]
    told_apart = inverted(targets[-1], lines) if targets else None
    if not told_apart and not in_base:
        told_apart = with_falsehood(node)
    edits = exchanged or by_row or ([[told_apart]] if told_apart else [])
    parametrised = any(PARAMETRIZE.search(one) for one in decorators)
    return [Plan(test, one, parametrised, not exchanged and not by_row, bool(by_row), in_base) for one in edits]


def combinations(positions, count):
    """Lists of edits: of all ways to exchange at one or more of the last positions, as few as do, a random `count`."""
    made = []
    for used in range(1, min(4, len(positions) + 1)):
        few = [SECRET.sample(edits, min(PER_TEST, len(edits))) for edits in positions[:used]]
        ways = itertools.product(*[[None, *edits] for edits in few])
        made = [found for found in ([edit for edit in way if edit] for way in ways) if found]
        if len(made) >= count:
            break
    return SECRET.sample(made, min(count, len(made)))


def combinations_of_rows(rows, file, known, count):
    """The same for parametrisations: in each new one, one literal or none is exchanged, none as often as any other way."""
    choices = []
    for row, cell in reversed(rows):
        found = [] if ast.unparse(row) in known or not is_plain(cell) else in_order(constants_of(cell))
        edits = next(filter(None, (other_literals(one, cell, file) for one in reversed(found))), [])
        if edits:
            choices.append([None, *edits])
    made = []
    for _attempt in range(2 * count if choices else 0):
        way = [edit for edit in map(SECRET.choice, choices) if edit]
        if way and way not in made:
            made.append(way)
    return made[:count]


def in_order(nodes):
    return sorted(nodes, key=lambda one: (one.lineno, one.col_offset))


def exchanges(node, file, known):
    """Places of the last assertion that has any, and is not known, at which others might as well be asked: the last place first."""
    literals = [one for one in literals_of(node) if not {ast.unparse(one[0]), ast.unparse(one[1])} & known]
    for asking in reversed(in_order({asking: None for asking, _holder, _constant in literals})):
        here = {constant: holder for other, holder, constant in literals if other is asking}
        found = [other_literals(one, here[one], file) for one in reversed(in_order(here))]
        if any(found):
            return [edits for edits in found if edits]
    return []


def first_line(node):
    return min([node.lineno] + [one.lineno for one in node.decorator_list])


def copy_of(plan, file):
    """The test under another name with the plan's edits; None when that is no test any more."""
    test = plan.test
    node = test.node
    copied = file.lines[: node.end_lineno]
    for edit in plan.edits:
        copied = replace_span(copied, edit)
    copied = copied[first_line(node) - 1 :]
    pattern = re.compile(r"^(\s*(?:async\s+)?def\s+)%s\b" % re.escape(node.name))
    at = next((at for at, line in enumerate(copied) if pattern.match(line)), None)
    if at is None:
        return None
    copied[at] = pattern.sub(lambda match: match.group(1) + PLACEHOLDER, copied[at])
    marks = {"inverted": plan.inverted}
    marks.update({"byRow": True} if plan.by_row else {}, **({"inBase": True} if plan.in_base else {}))
    return finish(test, copied, file, marks, test.prefix + node.name)


def finish(test, copied, file, marks, twin):
    names = names_like(test, file)
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
    canary = {
        "file": test.path,
        "firstLine": first_line(test.node),
        "insertAfterLine": test.node.end_lineno,
        "places": places_of(test, file),
        "source": source,
        "names": names,
        "twin": twin,
        "prefix": test.prefix,
        **({} if test.prefixes == [test.prefix] else {"prefixes": test.prefixes}),
        **marks,
    }
    if twin is not None and may_swap(test, file):
        canary["swapLine"] = test.node.lineno
    return canary


@functools.lru_cache(maxsize=None)
def places_of(test, file):
    """Ends of tests beside it, its own among them, after which a copy reads as one of them."""
    node = test.node
    # What stands in decorators, defaults and annotations is evaluated where the copy stands: nothing may be missing there.
    arguments = node.args
    early = node.decorator_list or node.returns or arguments.defaults or any(arguments.kw_defaults) or any(
        one.annotation for one in arguments.posonlyargs + arguments.args + arguments.kwonlyargs
    )
    beside = [
        one.node.end_lineno
        for one in file.tests
        if one.prefix == test.prefix
        and (not early or one.node.lineno >= node.lineno)
        and alone_on_its_lines(one.node, first_line(one.node), file.lines)
    ]
    own = node.end_lineno
    return sorted({own, *spread([line for line in beside if line != own], PLACES - 1)})


@functools.lru_cache(maxsize=None)
def may_swap(test, file):
    """Whether test and canary may change names: it stands nowhere but in definitions of tests that do not inherit one another."""
    node = test.node
    bearers = [one for one in file.tests if one.node.name == node.name]
    if file.words[node.name] != len(bearers):
        return False
    if len(bearers) > 1 and any(one.inherits for one in bearers):
        return False
    line = file.lines[node.lineno - 1]
    if not re.search(r"\bdef\s+%s\b" % re.escape(node.name), line):
        return False
    around = [ast.unparse(node)] + [ast.unparse(d) for one in test.classes for d in one.decorator_list]
    return not any(NAMED.search(one) for one in around)


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


def alone_on_its_lines(node, start, lines):
    """The copy is made of whole lines: nothing else may stand on them."""
    first = lines[start - 1]
    if first[: len(first) - len(first.lstrip())] != first[: node.col_offset] and not node.decorator_list:
        return False
    last = lines[node.end_lineno - 1]
    tail = last.encode("utf-8")[node.end_col_offset :].decode("utf-8").strip()
    return tail == "" or tail.startswith("#")


def inverted(statement, lines):
    """The edit that inverts an assertion, spelled as a person would."""
    if isinstance(statement, ast.Assert):
        return inverted_assert(statement.test, lines)
    call = statement.value
    whole = source_of(call, lines)
    if not re.match(r"self\s*\.\s*%s\b" % call.func.attr, whole):
        return None
    return span_of(call), "self." + INVERSE[call.func.attr] + re.sub(r"^self\s*\.\s*%s" % call.func.attr, "", whole)


def inverted_assert(test, lines):
    if isinstance(test, ast.Constant):
        return None
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        text = source_of(test.operand, lines)
        return span_of(test), parenthesised(text) if "\n" in text else text
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        right = test.comparators[0]
        gap = (test.left.end_lineno, test.left.end_col_offset), (right.lineno, right.col_offset)
        old, new = OPPOSITE[type(test.ops[0])]
        text, changed = re.subn(r"(?<![\w<>=!])%s(?![\w<>=!])" % old, new, text_between(gap, lines), count=1)
        return (gap, text) if changed else None
    text = source_of(test, lines)
    simple = isinstance(test, (ast.Name, ast.Call, ast.Attribute, ast.Subscript))
    return span_of(test), "not " + (text if simple and "\n" not in text else parenthesised(text))


def parenthesised(text):
    return "(" + text + ")"


def plainly_failing(test, file):
    """A test that can only fail: where no test can be made to."""
    node, lines = test.node, file.lines
    if not alone_on_its_lines(node, first_line(node), lines):
        return None
    line = lines[node.lineno - 1]
    indent = line[: len(line) - len(line.lstrip())]
    argument = "self" if test.classes else ""
    copied = [indent + "def %s(%s):" % (PLACEHOLDER, argument), indent + "    assert %s" % falsehood(node.name)]
    return finish(test, copied, file, {"inverted": False}, None)


def with_falsehood(node):
    """The edit that adds to a test, after all of it, what is never true; none where the end may not be reached."""
    last = node.body[-1]
    if len(reachable(node)) < len(node.body) or node.body[0].lineno == node.lineno:
        return None
    end = last.end_lineno, last.end_col_offset
    # By what the test asserts with: who makes that say nothing makes this say nothing.
    called = [one.func for one in ast.walk(node) if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute)]
    false = "assert %s" % falsehood(node.name)
    if any(one.attr.startswith("assert") and ast.unparse(one.value) == "self" for one in called):
        false = "self.assertEqual(%s)" % falsehood(node.name).replace(" ==", ",")
    return (end, end), "\n" + " " * node.body[0].col_offset + false


def falsehood(seed):
    number = seed_of(seed) % 90 + 10
    return "%d == %d" % (number, number + 1)


def seed_of(*parts):
    return int(hashlib.sha256("::".join(map(str, parts)).encode()).hexdigest()[:8], 16)


@functools.lru_cache(maxsize=1)  # asked for every test of a file, and a walk of a long file costs 50 ms
def words_of(tree):
    words = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test"):
            words.extend(word for word in re.split(r"_+", node.name[4:]) if word and not word.isdigit())
    return list(dict.fromkeys(words)) or ["value", "default", "basic", "simple"]


def names_like(test, file):
    """Names made of the words that the file's own test names use, none of which is taken."""
    near, taken = test.node.name, file.taken
    words = words_of(file.tree)
    stem = near.rstrip("_0123456789") or near
    seed = seed_of(test.path, near)
    names = []
    turned = words[seed % len(words) :] + words[: seed % len(words)]
    numbers = map(str, range(2, 99))
    endings = itertools.chain(turned, ("_".join(pair) for pair in itertools.product(turned, turned[::-1])), numbers)
    for name in (stem + "_" + ending for ending in endings):
        if re.fullmatch(r"[A-Za-z_]\w*", name) and name not in taken and name not in names and len(name) < 80:
            names.append(name)
        if len(names) == NAMES:
            break
    taken.update(names)
    return names


main()
