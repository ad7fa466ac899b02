"""Walks a module and collects its bugs, a method for each kind of node; part of mutations.py."""

import ast
import bisect
import collections
import re

from mutation_rules import (
    ARITHMETIC, ATTRIBUTES, COMPARED, FIXED_ORDER, LONGEST_DROP, NAMES, QUIET, SEPARATORS, UNFIT_DECORATORS,
    is_docstring, is_single, is_text, is_truth, own_jumps, whole,
)

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
UNTOUCHED = (ast.While, ast.JoinedStr, ast.arguments, ast.Assert, getattr(ast, "TemplateStr", ast.JoinedStr))


class Mutation(collections.namedtuple("Mutation", "kind line function original start end replacement")):
    """One bug: `original[start:end]` becomes `replacement`, in the function of that (dotted) name, on that line (from 1)."""

    __slots__ = ()

    @property
    def source(self):
        return self.original[: self.start] + self.replacement + self.original[self.end :]


def line_starts(source):
    """Offset of each line's first character, and the end of the source."""
    starts = [0]
    for line in source.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    starts[-1] = len(source)
    return starts


class Finder:
    """Walks a module and collects (function, Mutation). One method a kind of node: `on_<Name>`."""

    def __init__(self, source):
        self.source = source
        self.lines = source.split("\n")
        self.starts = line_starts(source)
        self.found = []
        self.bounds = set()  # ids of constants that are somebody's bound
        self.function = None
        self.name = ""
        self.stores = collections.Counter()

    # Where it may look

    def walk(self, node, function, names):
        if isinstance(node, ast.ClassDef):
            for child in node.body:
                self.walk(child, function, (*names, node.name))
        elif isinstance(node, FUNCTIONS):
            self.walk_function(node, (*names, node.name))
        elif function is None or not isinstance(node, UNTOUCHED) and not self.is_remark(node):
            if function is not None:
                getattr(self, "on_" + type(node).__name__, self.on_other)(node)
            for field, value in ast.iter_fields(node):
                if field in ("annotation", "returns", "decorator_list", "pattern", "format_spec"):
                    continue
                if isinstance(value, ast.AST):
                    self.walk(value, function, names)
                elif isinstance(value, list):
                    if function is not None and value and isinstance(value[0], ast.stmt):
                        self.block(value, isinstance(node, (ast.For, ast.AsyncFor)) and field == "body")
                    for child in value:
                        if isinstance(child, ast.AST):
                            self.walk(child, function, names)

    def walk_function(self, node, names):
        if any(UNFIT_DECORATORS.search(self.text(one)) for one in node.decorator_list):
            return
        outer = self.function, self.name, self.stores
        self.function, self.name = node, ".".join(names)
        self.stores = collections.Counter(one.id for one in ast.walk(node)
                                          if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store))
        self.stores.update(one.arg for one in ast.walk(node.args) if isinstance(one, ast.arg))
        self.block(node.body, False)
        for child in node.body:
            if not is_docstring(child):
                self.walk(child, node, names)
        self.function, self.name, self.stores = outer

    def is_remark(self, node):
        """Says something to somebody (a log, a warning), which tests seldom ask for."""
        called = node.value.func if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) else None
        return called is not None and QUIET.match(self.text(called)) is not None

    # Places in the text

    def at(self, line, column):
        text = self.lines[line - 1]
        if not text.isascii():
            column = len(text.encode("utf-8")[:column].decode("utf-8"))
        return self.starts[line - 1] + column

    def span(self, node):
        return self.at(node.lineno, node.col_offset), self.at(node.end_lineno, node.end_col_offset)

    def text(self, node):
        start, end = self.span(node)
        return self.source[start:end]

    def offer(self, kind, span, replacement):
        start, end = span
        if self.source[start:end] == replacement:
            return
        line = bisect.bisect_right(self.starts, start, 0, len(self.lines))
        if "pragma: no cover" in self.lines[line - 1]:
            return
        made = Mutation(kind, line, self.name, self.source, start, end, replacement)
        self.found.append((self.function, made))

    def between(self, left, right, pattern):
        """Span of an operator between two nodes; None where a comment stands there, too."""
        start, end = self.span(left)[1], self.span(right)[0]
        region = self.source[start:end]
        match = None if "#" in region else re.search(pattern, region)
        return None if match is None else (start + match.start(), start + match.end())

    def wrapped(self, node):
        simple = (ast.Name, ast.Call, ast.Attribute, ast.Subscript, ast.Constant)
        return self.text(node) if isinstance(node, simple) else "(" + self.text(node) + ")"

    # Expressions

    def on_other(self, node):
        pass

    def on_BinOp(self, node):
        old, new = ARITHMETIC.get(type(node.op), (None, None))
        if old is None or isinstance(node.op, ast.Mod) and is_text(node.left):
            return
        where = self.between(node.left, node.right, re.escape(old))
        if where is None:
            return
        if isinstance(node.op, ast.Add) and (is_text(node.left) or is_text(node.right)):
            (start, left_end), (right, end) = self.span(node.left), self.span(node.right)
            glue = self.source[left_end:right]
            if glue.strip() == "+" and start == self.span(node)[0]:
                self.offer("operator", (start, end), self.text(node.right) + glue + self.text(node.left))
            return
        self.offer("operator", where, new)

    def on_AugAssign(self, node):
        old, new = ARITHMETIC.get(type(node.op), (None, None))
        where = None if old is None else self.between(node.target, node.value, re.escape(old + "="))
        if where is not None and not is_text(node.value):
            self.offer("operator", where, new + "=")

    def on_BoolOp(self, node):
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:]):
            where = self.between(left, right, rf"\b{old}\b")
            if where is not None:
                self.offer("operator", where, new)

    def on_UnaryOp(self, node):
        start = self.span(node)[0]
        if isinstance(node.op, ast.Not):
            self.without_not(node)
        elif isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
            self.offer("operator", (start, start + 1), "")

    def without_not(self, node):
        start = self.span(node)[0]
        match = re.compile(r"not\s*").match(self.source, start)
        self.offer("condition", (start, match.end()), "")

    def on_Compare(self, node):
        for left, op, right in zip([node.left, *node.comparators], node.ops, node.comparators):
            pattern, others = COMPARED[type(op)]
            where = self.between(left, right, pattern)
            for other in others if where is not None else ():
                self.offer("comparison", where, other)

    def on_Constant(self, node):
        value, text = node.value, self.text(node)
        if id(node) in self.bounds:
            return
        if isinstance(value, bool):
            self.offer("constant", self.span(node), str(not value))
        elif isinstance(value, int) and re.fullmatch(r"\d+", text):
            self.offer("constant", self.span(node), str(value + 1))
            if value > 0:
                self.offer("constant", self.span(node), str(value - 1))
        elif isinstance(value, float) and re.fullmatch(r"\d+\.\d+", text):
            whole, fraction = text.split(".")
            self.offer("constant", self.span(node), str(int(whole) + 1) + "." + fraction)
        elif isinstance(value, str) and re.fullmatch(r"(['\"])(?!\1)[^'\"]{1,2}\1|''|\"\"", text):
            other = SEPARATORS.get(text[1:-1])
            if other is not None:
                self.offer("constant", self.span(node), text[0] + other + text[-1])

    def condition(self, test):
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not) or is_single(test):
            return  # on_UnaryOp and on_Compare see it
        self.offer("condition", self.span(test), "not " + self.wrapped(test))

    def on_IfExp(self, node):
        self.condition(node.test)

    def on_comprehension(self, node):
        for test in node.ifs:
            self.condition(test)

    def on_Subscript(self, node):
        index = node.slice
        if isinstance(index, ast.Slice):
            for part, deltas in ((index.lower, (1, -1)), (index.upper, (-1, 1))):
                if part is not None:
                    self.shift(part, deltas)
            if isinstance(index.step, ast.AST):
                self.bound(index.step)
        elif isinstance(node.ctx, ast.Load) and whole(index) is not None:
            self.shift(index, (1, -1))

    def bound(self, node):
        self.bounds.update(id(one) for one in ast.walk(node) if isinstance(one, ast.Constant))

    def shift(self, node, deltas):
        """A bound moved by one, in each direction that changes something else than its sign."""
        if isinstance(node, (ast.Constant, ast.UnaryOp)):
            self.bound(node)
        value = whole(node)
        for delta in deltas:
            if value is None:
                self.offer("bound", self.span(node), self.moved(node, delta))
            elif value + delta >= 0 or value < 0:
                new = value + delta
                # x[:-1] moved to x[:0] would be nothing at all
                self.offer("bound", self.span(node), str(new) if new != 0 or value > 0 else "-2")

    def moved(self, node, delta):
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)) and whole(node.right) == 1:
            if isinstance(node.op, ast.Add) == (delta < 0):
                return self.text(node.left)
        sum_like = isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.FloorDiv))
        return (self.text(node) if sum_like else self.wrapped(node)) + (" + 1" if delta > 0 else " - 1")

    def on_Call(self, node):
        called = self.text(node.func)
        plain = not any(isinstance(one, ast.Starred) for one in node.args)
        if called == "range" and plain and node.args:
            if len(node.args) > 1:
                self.shift(node.args[0], (1,))
            self.shift(node.args[0] if len(node.args) == 1 else node.args[1], (-1, 1))
        if plain and len(node.args) >= 2 and not FIXED_ORDER.match(called.split(".")[-1]):
            first, second = node.args[:2]
            (start, middle), (resume, end) = self.span(first), self.span(second)
            if self.text(first) != self.text(second) and not isinstance(first, ast.GeneratorExp):
                glue = self.source[middle:resume]
                self.offer("argument", (start, end), self.text(second) + glue + self.text(first))
        parts = sorted([*node.args, *node.keywords], key=lambda one: (one.lineno, one.col_offset))
        for before, keyword in zip(parts, parts[1:]):
            if isinstance(keyword, ast.keyword) and keyword.arg is not None:
                start, end = self.span(before)[1], self.span(keyword)[1]
                if re.fullmatch(r"\s*,\s*", self.source[start : self.span(keyword)[0]]):
                    self.offer("argument", (start, end), "")

    def on_Name(self, node):
        if isinstance(node.ctx, ast.Load) and node.id in NAMES and node.id not in self.stores:
            self.offer("swap", self.span(node), NAMES[node.id])

    def on_Attribute(self, node):
        other = ATTRIBUTES.get(node.attr)
        if isinstance(node.ctx, ast.Load) and other is not None:
            end = self.span(node)[1]
            self.offer("swap", (end - len(node.attr), end), other)

    # Statements

    def on_Return(self, node):
        value = node.value
        if value is None or isinstance(value, ast.Constant):
            return
        span = self.span(value)
        if isinstance(value, ast.Tuple) and len(value.elts) >= 2:
            (start, middle), (resume, end) = self.span(value.elts[0]), self.span(value.elts[1])
            swapped = self.text(value.elts[1]) + self.source[middle:resume] + self.text(value.elts[0])
            self.offer("return", (start, end), swapped)
        elif is_truth(value):
            self.offer("return", span, "not " + self.wrapped(value))
        elif not isinstance(value, (ast.Compare, ast.UnaryOp, ast.IfExp)):
            self.offer("return", span, "None")

    def on_If(self, node):
        self.condition(node.test)
        elif_ = self.source.startswith("elif", self.span(node)[0])
        if elif_:
            self.drop_lines("branch", node.lineno, node.body[-1].end_lineno)
        if node.orelse and not self.source.startswith("elif", self.span(node.orelse[0])[0]):
            for line in range(node.orelse[0].lineno - 1, node.body[-1].end_lineno, -1):
                if re.match(r"\s*else\s*:\s*(#.*)?$", self.lines[line - 1]):
                    self.drop_lines("branch", line, node.orelse[-1].end_lineno)
                    break

    def block(self, statements, of_loop):
        for node in statements:
            kind = self.droppable(node)
            if kind is not None:
                self.drop(kind, node, len(statements) == 1)
        if of_loop:
            for node in own_jumps(statements):
                other = "continue" if isinstance(node, ast.Break) else "break"
                self.offer("statement", self.span(node), other)

    def droppable(self, node):
        if isinstance(node, ast.If):
            is_elif = self.source.startswith("elif", self.span(node)[0])
            return "branch" if not node.orelse and not is_elif else None
        if isinstance(node, ast.Expr):
            value = node.value.value if isinstance(node.value, ast.Await) else node.value
            return "statement" if isinstance(value, ast.Call) and not self.is_remark(node) else None
        if isinstance(node, (ast.AugAssign, ast.Delete)):
            return "statement"
        if isinstance(node, ast.Assign):
            names = [one for one in node.targets if isinstance(one, ast.Name)]
            others = [one for one in node.targets if isinstance(one, (ast.Attribute, ast.Subscript))]
            again = all(self.stores[one.id] > 1 for one in names)  # else the name is unknown afterwards
            return "statement" if again and len(names) + len(others) == len(node.targets) else None
        return None

    def drop(self, kind, node, alone):
        first, last = self.lines[node.lineno - 1], self.lines[node.end_lineno - 1]
        start, end = self.span(node)
        before = first[: start - self.starts[node.lineno - 1]]
        after = last[end - self.starts[node.end_lineno - 1] :]
        if before.strip() != "" or not re.match(r"\s*(#.*)?$", after):
            return
        if not alone:
            self.drop_lines(kind, node.lineno, node.end_lineno)
        elif node.end_lineno - node.lineno < LONGEST_DROP:
            self.offer(kind, (start, end), "pass")

    def drop_lines(self, kind, first, last):
        if last - first < LONGEST_DROP:
            self.offer(kind, (self.starts[first - 1], self.starts[last]), "")
