"""Single bugs in Python source, made by rule: one small edit of the text each, in a function's body, that still parses.

    for bug in mutations(source):
        bug.kind, bug.line, bug.function, bug.source  # the whole source with the bug in it

Nothing is reformatted: an edit replaces the span of one expression, operator or statement, so a diff shows the bug alone. The
same source gives the same bugs in the same order on every Python from 3.9 on. Not touched are docstrings, annotations,
defaults, decorators, formatted strings, patterns, and everything in a `while` loop: a bug there most often hangs.

As a program (the sandbox's own Python, standard library alone) it reads {"files": {path: source}, "kinds": [...] or null} on
standard input and writes {"mutations": [...], "functions": [...]}; offsets are in UTF-8 bytes there. A file that
cannot be parsed has no bugs and no functions; that is not an error.
"""

import ast
import json
import os
import sys
import warnings

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # which -I leaves out
from mutation_finder import FUNCTIONS, Finder, line_starts

KINDS = (
    "argument",  # two arguments swapped, a keyword argument left out
    "bound",  # off by one in a range, slice or index
    "branch",  # an if, elif or else left out
    "comparison",  # another comparison
    "condition",  # a condition negated
    "constant",  # another number, truth value or separator
    "operator",  # another arithmetic, bitwise or boolean operator
    "return",  # another value returned
    "statement",  # a statement left out, break for continue
    "swap",  # a function or attribute for its neighbour: min for max, any for all
)


def mutations(source, kinds=KINDS):
    """Every bug of these kinds in the source of a module, by place; none where the source cannot be parsed."""
    tree = parsed(source)
    if tree is None:
        return []
    finder = Finder(source)
    finder.walk(tree, None, ())
    unlike = Unlike(source)
    found = []
    seen = set()
    for function, made in sorted(finder.found, key=lambda one: one[1][4:] + (one[1].kind,)):
        edit = made[4:]
        if made.kind in kinds and edit not in seen and unlike(function, made):
            seen.add(edit)
            found.append(made)
    return found


def functions(source):
    """Every function of a module: its dotted name, and the names that its body uses."""
    tree = parsed(source)
    return [] if tree is None else [(name, uses_of(node)) for name, node in functions_in(tree, ())]


def parsed(source):
    if "\r" in source.replace("\r\n", ""):  # the parser's lines would not be ours
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def functions_in(node, names):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*FUNCTIONS, ast.ClassDef)):
            own = (*names, child.name)
            if isinstance(child, FUNCTIONS):
                yield ".".join(own), child
            yield from functions_in(child, own)
        else:
            yield from functions_in(child, names)


def uses_of(function):
    names = {one.id for one in ast.walk(function) if isinstance(one, ast.Name)}
    return sorted(names | {one.attr for one in ast.walk(function) if isinstance(one, ast.Attribute)})


class Unlike:
    """Whether a bug makes other code that parses: the function alone is parsed again, not its whole file."""

    def __init__(self, source):
        self.starts = line_starts(source)
        self.known = {}

    def __call__(self, function, made):
        first, last = self.starts[function.lineno - 1], self.starts[function.end_lineno]
        head = "" if function.col_offset == 0 else "if 1:\n"
        text = made.original
        if first not in self.known:
            self.known[first] = self.form(head + text[first:last])
        now = self.form(head + text[first : made.start] + made.replacement + text[made.end : last])
        return now is not None and now != self.known[first]

    def form(self, text):
        tree = parsed(text)
        return None if tree is None else ast.dump(tree)


def main():
    request = json.load(sys.stdin)
    kinds = request.get("kinds") or KINDS
    made = []
    known = []
    for path, source in sorted(request["files"].items()):
        in_bytes = (lambda at: at) if source.isascii() else (lambda at, text=source: len(text[:at].encode("utf-8")))
        made += [{"path": path, "kind": one.kind, "line": one.line, "function": one.function, "start": in_bytes(one.start),
                  "end": in_bytes(one.end), "text": one.replacement} for one in mutations(source, kinds)]
        known += [{"path": path, "name": name, "uses": uses} for name, uses in functions(source)]
    json.dump({"mutations": made, "functions": known}, sys.stdout)


if __name__ == "__main__":
    main()
