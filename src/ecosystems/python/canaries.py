"""Makes a pool of canaries for test files: copies of their own tests with one assertion made false.

Where an assertion compares with a literal, the literal is exchanged within a group whose every member would have been
exchanged for the others: neighbouring digits, texts that the file expects, words of a text. By secret choice, and by preference
so that whether literal and assertion occur elsewhere in the file or in the base's says the same of both. Else the assertion is
inverted, as many negated ones as others where there are both. Where another literal that it hangs on is changed, which may
leave it true, an inverted copy is made to spare. Tests that the change adds or edits come first: their text is not in the
base's commit.

What still tells two copies apart: what they mean (a forger who knows the right answer, or the language of a text); in a test
that stands in the base as it is, the base's text, which every author of a patch has; in an edited test the same, where no
assertion is new; of an inverted one, that people negate more rarely than not.

Runs inside the sandbox on the base system's own Python (3.9 or later), with the standard library alone, before any test.
Reads a JSON list of paths (relative to the working directory) on standard input, writes a JSON list of canaries on
standard output. A file that cannot be read or parsed has no canaries; that is not an error.
"""

import ast
import collections
import functools
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import textwrap

PER_FILE = 6  # enough to draw a secret few from
FEW_PER_FILE = 2  # in all but the first files, which are those of the change
FIRST_FILES = 4
IN_ALL = 64  # the run that proves them plants them all
VARIANTS = 2  # of a test of the change: one more to guess among
LAST_ASSERTIONS = 6  # of a test, in which an edit is looked for
LAST_LITERALS = 4  # of an assertion
TRIED = 16  # texts in place of one
MANY = 3  # not counted further
PLACES = 12
NAMES = 4
PLACEHOLDER = "@@NAME@@"
# Never a seed that could be worked out: this script is public, and would tell which copy it made of which.
SECRET = random.SystemRandom()

# How well an edit hides: the lower the better.
EVEN, PRESENT, UNEVEN = range(3)
EXCHANGED, ALTERED, ELSEWHERE, INVERTED = range(4)

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
# What a test with one of these does may hang on its own name.
NAMED = re.compile(r"(snapshot|regression|approv|golden|cassette|vcr|betamax|image_compare|__name__|__qualname__|\brequest\b"
                   r"|_testMethodName|\.id\(\)|inspect\.|frame|co_name|CURRENT_TEST|shortDescription|datadir)")
OPPOSITE = {ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.In: ("in", "not in"), ast.NotIn: (r"not\s+in", "in"),
            ast.Is: ("is", "is not"), ast.IsNot: (r"is\s+not", "is"), ast.Lt: ("<", ">="), ast.GtE: (">=", "<"),
            ast.Gt: (">", "<="), ast.LtE: ("<=", ">")}


def main():
    paths = json.load(sys.stdin)
    pool = []
    seen = set()
    if not hasattr(ast, "unparse"):
        paths = []
    base = Base()
    for path in paths:
        try:
            count = PER_FILE if len(seen) < FIRST_FILES else FEW_PER_FILE
            found = canaries_of(path, base)
            pool.extend(found[: min(count, IN_ALL - len(pool))])
            if found:
                seen.add(path)
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    json.dump(pool, sys.stdout)


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

    def text_of(self, path):
        """The base's text of a file that is not as it was; None for one that is."""
        if path not in self.tracked:
            return ""
        return self.git("show", "HEAD:" + path).decode("utf-8-sig", "replace") if path in self.modified else None


def is_old_in(text, path):
    """Whether a test stands in the base's text as it stands now: a function of the test."""
    if text is None:
        return lambda test: True
    try:
        old = {(one.prefix, ast.unparse(one.node)) for one in tests_in(ast.parse(text), path)}
    except (SyntaxError, ValueError):
        old = set()
    return lambda test: (test.prefix, ast.unparse(test.node)) in old


def canaries_of(path, base):
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
    old_text = base.text_of(path)
    is_old = is_old_in(old_text, path)
    taken = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}
    file = File(path, text, lines, tree, taken, candidates)
    file.count_also(old_text)
    made = [(test, falsified(test, file)) for test in candidates]
    of_change = [variants for test, variants in made if variants and not is_old(test)]
    others = [variants[0] for test, variants in made if variants and is_old(test)]
    chosen = best([variants[0] for variants in of_change], PER_FILE)
    chosen += [variants[1] for variants in of_change if variants[0] in chosen and len(variants) > 1][: PER_FILE - len(chosen)]
    # Parametrised tests cost one canary run per parameter: only where there are too few others.
    chosen += best([one for one in others if not one["parametrised"]], PER_FILE - len(chosen))
    chosen += best([one for one in others if one["parametrised"]], PER_FILE - len(chosen))
    if not chosen and candidates:
        chosen = [one for one in [plainly_failing(candidates[len(candidates) // 2], file)] if one]
    for one in chosen:
        del one["parametrised"], one["rank"], one["negated"]
    return chosen


class File:
    """A parsed test file, and what all of its tests ask of it."""

    def __init__(self, path, text, lines, tree, taken, tests):
        self.path = path
        self.text = text
        self.lines = lines
        self.tree = tree
        self.taken = taken
        self.tests = tests
        # Counts of what stands in it: whoever reads the planted file may count, too.
        self.expected = collections.Counter()
        self.constants = collections.Counter()
        self.statements = collections.Counter()
        self.words = {}
        self.tokens = tokens_of(text)
        self.count(tree, lines)

    def count(self, tree, lines):
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant):
                self.constants[key_of(node.value)] += 1
            elif isinstance(node, (ast.Assert, ast.Expr, ast.Assign)):
                self.statements[squeezed(source_of(node, lines))] += 1
                for one in literals_of(node) if is_assertion(node) else ():
                    self.expected[key_of(one.value)] += 1
                    word = source_of(one, lines)
                    if stands_for(word, one.value):
                        self.words[word] = one.value

    def count_also(self, old_text):
        """The base's text of the file counts as well: it tells what an edited test asserted before."""
        words = dict(self.words)
        try:
            if old_text:
                self.count(ast.parse(old_text), re.split(r"\r\n|\r|\n", old_text))
                self.tokens += tokens_of(old_text)
        except (SyntaxError, ValueError):
            pass
        self.words = words


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


def best(canaries, count):
    """At most `count`: those that hide best first. Inverted ones of both directions alike, else only where there is no other."""
    chosen = []
    for rank in sorted({one["rank"] for one in canaries}):
        alike = [one for one in canaries if one["rank"] == rank]
        if rank[-1] == INVERTED:
            plain, negated = ([one for one in alike if one["negated"] is kind] for kind in (False, True))
            pairs = zip(SECRET.sample(plain, len(plain)), SECRET.sample(negated, len(negated)))
            both = [one for pair in pairs for one in SECRET.sample(pair, 2)]
            chosen += both[: count - len(chosen)]
            if chosen:
                continue
        chosen += spread(alike, count - len(chosen))
    return chosen


def falsified(test, file):
    """Canaries of one test, the hardest to tell from it first; none when a copy of it may pass or fail by chance."""
    node, lines = test.node, file.lines
    decorators = [ast.unparse(one) for one in node.decorator_list + [d for c in test.classes for d in c.decorator_list]]
    if any(UNFIT_DECORATORS.search(one) and not PARAMETRIZE.search(one) for one in decorators):
        return []
    # A name of its own in the body would be found twice by whoever looks for it.
    if any(isinstance(one, (ast.Yield, ast.YieldFrom, ast.Global, ast.Nonlocal)) for one in ast.walk(node)):
        return []
    targets = assertions(node)
    if not targets or UNSTEADY.search(ast.unparse(node)):
        return []
    if not alone_on_its_lines(node, first_line(node), lines):
        return []
    ranked = ranked_edits(test, targets[-LAST_ASSERTIONS:], file)
    parametrised = any(PARAMETRIZE.search(one) for one in decorators)
    negated = is_negated(targets[-1])
    made = []
    for rank, edits in ranked[:1]:
        made += [copy_of(test, file, edit, parametrised, rank) for edit in edits[:VARIANTS]]
    # Another literal there may leave the assertion true.
    unsure = made and made[0] and made[0]["rank"][1] == ELSEWHERE
    spares = [(rank, edits) for rank, edits in ranked if unsure and rank[1] == INVERTED]
    for rank, edits in spares[:1]:
        spare = copy_of(test, file, edits[0], parametrised, rank)
        made = made[:1] + ([{**spare, "spare": True}] if spare else [])
    return [{**one, "negated": negated} for one in made if one]


def ranked_edits(test, statements, file):
    """Pairs of a rank and edits of one place, the best first. Edits of two places would show the test: it is near to all."""
    body = collections.Counter(key_of(one.value) for one in ast.walk(test.node) if isinstance(one, ast.Constant))
    groups = {}

    def add(edit, rank):
        groups.setdefault(rank, {}).setdefault(edit[0], []).append(edit)

    for statement in statements:
        expected = literals_of(statement)[:LAST_LITERALS]
        # Of what is negated, another literal says nothing: it would stay true.
        behind = () if is_negated(statement) else literals_behind(statement, test.node)
        elsewhere = [(holder, one) for holder, one in behind if one not in expected]
        for holder, constant in [(statement, one) for one in expected] + elsewhere[-LAST_LITERALS:]:
            was = marks(holder, constant, None, body, file)
            for kind, text in others_of(constant, file):
                edit = span_of(constant), text
                level = shown(was, marks(holder, constant, edit, body, file))
                if constant in expected:
                    add(edit, (level, kind))
                elif ast.literal_eval(text) != 0:  # a step of 0 may never end
                    add(edit, (level, ELSEWHERE))
        edit = inverted(statement, file.lines)
        if edit and statement is statements[-1]:
            level = shown([occurs(statement, None, file)], [occurs(statement, edit, file)])
            add(edit, (max(level, PRESENT), INVERTED))
    ranked = [(rank, SECRET.choice(list(groups[rank].values()))) for rank in sorted(groups)]
    return [(rank, SECRET.sample(edits, len(edits))) for rank, edits in ranked]


def literals_behind(statement, node):
    """Other literals that an assertion hangs on, each with its statement: its own, and those assigned to the names in it."""
    names = {one.id for one in ast.walk(statement) if isinstance(one, ast.Name)}
    for holder in node.body[: node.body.index(statement)] + [statement]:
        if holder is statement or isinstance(holder, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id in names for target in holder.targets
        ):
            asserted = holder.test if isinstance(holder, ast.Assert) else holder.value  # never the message
            for one in ast.walk(asserted):
                if isinstance(one, ast.Constant) and type(one.value) in (int, float, str, bytes, bool):
                    yield holder, one


def marks(statement, constant, edit, body, file):
    """What counting says of a literal besides where it stands: is it expected, in the file, in the test; its words; its assertion."""
    text = source_of(constant, file.lines)
    own, key = (1, key_of(constant.value)) if edit is None else (0, key_of(ast.literal_eval(edit[1])))
    here = tokens_of(text)
    words = sum(file.tokens[one] > here[one] for one in tokens_of(text if edit is None else edit[1]))
    counts = [min(count[key] - own, MANY) for count in (file.expected, file.constants, body)]
    return [*counts, words, occurs(statement, edit, file)]


def shown(was, now):
    """How much the counts of two copies say of them: nothing, only how often, or which of them occurs at all."""
    if was == now:
        return EVEN
    return PRESENT if all((a > 0) == (b > 0) for a, b in zip(was, now)) else UNEVEN


def tokens_of(text):
    return collections.Counter(re.findall(r"[^\W\d]\w*", text))


def occurs(statement, edit, file):
    """How often the assertion, edited or as it is, stands elsewhere, too."""
    if edit is None:
        return min(file.statements[squeezed(source_of(statement, file.lines))] - 1, MANY)
    (start, end), text = edit
    whole = span_of(statement)
    around = text_between((whole[0], start), file.lines), text_between((end, whole[1]), file.lines)
    return min(file.statements[squeezed(text.join(around))], MANY)


def squeezed(text):
    return " ".join(text.split())


def key_of(value):
    return type(value), value


def is_negated(statement):
    if isinstance(statement, ast.Assert):
        test = statement.test
        return isinstance(test, ast.UnaryOp) or isinstance(test, ast.Compare) and isinstance(
            test.ops[0], (ast.NotEq, ast.NotIn, ast.IsNot)
        )
    return re.search(r"Not|False", statement.value.func.attr) is not None


def first_line(node):
    return min([node.lineno] + [one.lineno for one in node.decorator_list])


def copy_of(test, file, edit, parametrised, rank):
    """The test under another name with one edit: (start, end, text), places being (line, column in bytes)."""
    node = test.node
    start = first_line(node)
    copied = replace_span(file.lines, start, node.end_lineno, edit)
    pattern = re.compile(r"\bdef(\s+)%s\b" % re.escape(node.name))
    for at in range(node.lineno - start, len(copied)):
        renamed, changed = pattern.subn(lambda match: "def" + match.group(1) + PLACEHOLDER, copied[at], count=1)
        if changed:
            copied[at] = renamed
            break
    else:
        return None
    return finish(test, copied, file, parametrised, rank, test.prefix + node.name)


def finish(test, copied, file, parametrised, rank, twin):
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
        "insertAfterLine": test.node.end_lineno,
        "places": places_of(test, file),
        "source": source,
        "names": names,
        "twin": twin,
        "prefix": test.prefix,
        "parametrised": parametrised,
        "rank": rank,
        "negated": None,
    }
    if twin is not None and may_swap(test, file):
        canary["swapLine"] = test.node.lineno
    return canary


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


def may_swap(test, file):
    """Whether test and canary may change names: the name stands nowhere else, and nothing is known to hang on it."""
    node = test.node
    if len(re.findall(r"\b%s\b" % re.escape(node.name), file.text)) != 1:
        return False
    line = file.lines[node.lineno - 1]
    if not re.search(r"\bdef\s+%s\b" % re.escape(node.name), line):
        return False
    around = [ast.unparse(node)] + [ast.unparse(d) for one in test.classes for d in one.decorator_list]
    return not any(NAMED.search(one) for one in around)


def assertions(node):
    """Statements of the function's own body that assert, until something can leave the function."""
    found = []
    for statement in node.body:
        if isinstance(statement, ast.Raise) or any(isinstance(one, ast.Return) for one in walk_same_function(statement)):
            break
        if is_assertion(statement):
            found.append(statement)
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


def alone_on_its_lines(node, start, lines):
    """The copy is made of whole lines: nothing else may stand on them."""
    first = lines[start - 1]
    if first[: len(first) - len(first.lstrip())] != first[: node.col_offset] and not node.decorator_list:
        return False
    last = lines[node.end_lineno - 1]
    tail = last.encode("utf-8")[node.end_col_offset :].decode("utf-8").strip()
    return tail == "" or tail.startswith("#")


def compared(statement):
    """Sides of an assertion that something equals, is or is in something, in which another literal would make it false."""
    if isinstance(statement, ast.Assert):
        test = statement.test
        if not isinstance(test, ast.Compare) or len(test.ops) != 1:
            return []
        sides, how = [test.left, test.comparators[0]], type(test.ops[0])
    else:
        call = statement.value
        if len(call.args) < 2:
            return []
        sides = call.args[:2]
        how = {"assertNotEqual": ast.Eq, "assertNotIn": ast.In, "assertIsNot": ast.Is}.get(INVERSE[call.func.attr])
    return {ast.Eq: sides, ast.Is: sides, ast.In: sides[:1]}.get(how, [])


def literals_of(statement):
    """Constants of a side that is one literal, the last of them first."""
    for side in reversed(compared(statement)):
        try:
            ast.literal_eval(side)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            continue
        constants = [one for one in ast.walk(side) if isinstance(one, ast.Constant) and type(one.value) in (int, float, str, bytes, bool)]
        return sorted(constants, key=lambda one: (one.lineno, one.col_offset), reverse=True)
    return []


def others_of(constant, file):
    """What might as well stand for a literal, as pairs of how well it hides and its text: in both directions alike."""
    text, value = source_of(constant, file.lines), constant.value
    if constant.lineno != constant.end_lineno or not stands_for(text, value):
        return []
    if isinstance(value, bool):
        found = [(EXCHANGED, repr(not value))]
    elif isinstance(value, (int, float)):
        found = [(EXCHANGED, one) for one in other_digits(text)]
        if file.lines[constant.lineno - 1].encode("utf-8")[: constant.col_offset].endswith(b"-"):
            found = [one for one in found if float(one[1]) != 0]  # nobody writes -0
    else:
        found = other_texts(text, value, file)
    return [(kind, one) for kind, one in found if is_literal(one, type(value)) and ast.literal_eval(one) != value]


def other_digits(text):
    """The text with its last significant digit exchanged within its group: round numbers stay as round as they are."""
    numbers = list(re.finditer(r"[0-9]+", without_escapes(text)))
    if not numbers:
        return []
    last = ([one for one in numbers if one.group().strip("0")] or numbers)[-1]
    at = last.start() + max(len(last.group().rstrip("0")) - 1, 0)
    groups = ("012", "345", "6789") if len(numbers) == len(last.group()) == 1 else ("123", "456", "789")
    group = next((one for one in groups if text[at] in one), "")
    return [text[:at] + digit + text[at + 1 :] for digit in group if digit != text[at]]


def other_texts(text, value, file):
    """For a text: others that the file expects, another number in it; else its words in another order, its case, its length."""
    opening = re.match(r"[A-Za-z]*('''|\"\"\"|'|\")", text).group()
    quote = opening.lstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    start, end = len(opening), len(text) - len(quote)
    plain = without_escapes(text)
    found = [(EXCHANGED, one) for one in other_digits(text)]
    if file.expected[key_of(value)] > 1:  # as what is put in its place is
        donors = [word for word in file.words if re.match(re.escape(opening) + "(?!['\"])", word)]
        found += [(EXCHANGED, word) for word in some(donors)]
    words = [one for one in re.finditer(r"[^\W\d_]+", plain) if start <= one.start() and one.end() <= end]
    pairs = [(a, b) for a, b in zip(words, words[1:]) if a.group() != b.group()]
    for a, b in some(pairs):
        found.append((ALTERED, text[: a.start()] + b.group() + text[a.end() : b.start()] + a.group() + text[b.end() :]))
    if words and words[0].start() == start:
        found.append((ALTERED, text[:start] + text[start].swapcase() + text[start + 1 :]))
    letters = [at for at in range(start, end) if plain[at] != ESCAPED]
    if len(letters) > 1 and not pairs:
        at = SECRET.choice(letters)
        longer = SECRET.random() < 0.5
        found.append((ALTERED, text[:at] + (text[SECRET.choice(letters)] + text[at] if longer else "") + text[at + 1 :]))
    return found


def some(items):
    return SECRET.sample(items, min(len(items), TRIED))


ESCAPED = "\0"


def without_escapes(text):
    """The text with its escape sequences, and the letters before its quote, made of no use; every place stays."""
    blank = lambda match: ESCAPED * len(match.group())
    return re.sub(r"^[A-Za-z]+(?=['\"])|\\(?:x..|u....|U.{8}|N\{[^}]*\}|[0-7]{1,3}|.)", blank, text)


def stands_for(text, value):
    return is_literal(text, type(value)) and ast.literal_eval(text) == value


def is_literal(text, kind):
    try:
        return "\n" not in text and type(ast.literal_eval(text)) is kind
    except (ValueError, SyntaxError):
        return False


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


def span_of(node):
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def text_between(span, lines):
    """Text of a span as it stands; columns are in UTF-8 bytes."""
    (first, start), (last, end) = span
    if first == last:
        return lines[first - 1].encode("utf-8")[start:end].decode("utf-8")
    head = lines[first - 1].encode("utf-8")[start:].decode("utf-8")
    tail = lines[last - 1].encode("utf-8")[:end].decode("utf-8")
    return "\n".join([head, *lines[first : last - 1], tail])


def source_of(node, lines):
    return text_between(span_of(node), lines)


def replace_span(lines, start, end, edit):
    """Lines `start` to `end` with one span replaced."""
    ((first, column), (last, until)), text = edit
    head = lines[first - 1].encode("utf-8")[:column].decode("utf-8")
    tail = lines[last - 1].encode("utf-8")[until:].decode("utf-8")
    return lines[start - 1 : first - 1] + (head + text + tail).split("\n") + lines[last:end]


def plainly_failing(test, file):
    """A test that can only fail: where no test can be made to."""
    node, lines = test.node, file.lines
    if not alone_on_its_lines(node, first_line(node), lines):
        return None
    line = lines[node.lineno - 1]
    indent = line[: len(line) - len(line.lstrip())]
    argument = "self" if test.classes else ""
    copied = [indent + "def %s(%s):" % (PLACEHOLDER, argument), indent + "    assert %s" % falsehood(node.name)]
    return finish(test, copied, file, False, None, None)


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
