"""What might as well stand for a literal that a test expects; part of canaries.py.

Each exchange is one of many that would be made back: a number keeps how round it is, a text its words or its letters, and what is
expected in several places stands only for what is, too.
"""

import ast
import itertools
import random
import re

from spans import source_of, span_of


# Never a seed that could be worked out: this script is public, and would tell which copy it made of which.
SECRET = random.SystemRandom()


def other_literals(constant, statement, file):
    """Edits that put other values in place of a literal: all of its group."""
    text, value = source_of(constant, file.lines), constant.value
    if not is_literal(text, type(value)):
        return []
    taken = [value, *rivals(constant, statement)]
    before = file.lines[constant.lineno - 1].encode("utf-8")[: constant.col_offset].decode("utf-8")[-1:]
    found = others_of(text, value, before, file)
    return [(span_of(constant), one) for one in found if is_literal(one, type(value)) and ast.literal_eval("(" + one + ")") not in taken]


def rivals(constant, statement):
    """Values beside it in a set or among a dict's keys, where nobody writes one twice."""
    for holder in ast.walk(statement):
        members = holder.elts if isinstance(holder, ast.Set) else holder.keys if isinstance(holder, ast.Dict) else []
        if constant in members:
            return [one.value for one in members if isinstance(one, ast.Constant) and one is not constant]
    return []


def key_of(value):
    return type(value), value


def others_of(text, value, before, file):
    """What might as well stand for a literal, in both directions alike; `before` is the character in front of it."""
    if isinstance(value, bool):
        return [repr(not value)]
    digits = other_digits(text, before)
    if digits or not isinstance(value, (str, bytes)):
        return digits
    # One that is expected but once stands for none that is expected elsewhere; one with digits would never come back.
    if file.expected[key_of(value)] > 1:
        return [word for word, one in file.spelled.items() if shape_of(word, one) == shape_of(text, value) and not other_digits(word, "")]
    return other_words(text)


def shape_of(text, value):
    """What two texts have in common that may stand for each other."""
    return type(value), text[0], text.count("\n"), len(re.findall(r"\w+", text)), bool(re.search(r"[^\w\s'\"]", text))


def other_digits(text, before):
    """The text with another last significant digit: round numbers stay as round as they are."""
    plain = without_escapes(text)
    numbers = list(re.finditer(r"[0-9]+", plain))
    if not numbers:
        return []
    last = ([one for one in numbers if one.group().strip("0")] or numbers)[-1]
    at = last.start() + max(len(last.group().rstrip("0")) - 1, 0)
    ahead = (before + text[:at])[-1:]
    alone = len(numbers) == len(last.group()) == 1 and ahead not in ("-", ".")
    digits = "0123456789" if alone else "123456789"  # nobody writes -0 or .0
    made = [text[:at] + digit + text[at + 1 :] for digit in digits if text[at] in digits and digit != text[at]]
    return [one for one in made if blanks(without_escapes(one)) == blanks(plain)]  # no new escape sequence


def blanks(plain):
    return [letter == "\0" for letter in plain]


def other_words(text):
    """The text with up to three neighbouring words in another order; of a single word, its letters."""
    plain = without_escapes(text)
    for unit in (r"[^\W\d_]+", r"[^\W\d_]"):
        found = list(re.finditer(unit, plain))
        size = min(3, len(found))
        for start in SECRET.sample(range(len(found) - size + 1), len(found) - size + 1) if size > 1 else ():
            window = found[start : start + size]
            words = [one.group() for one in window]
            orders = sorted(set(itertools.permutations(words)) - {tuple(words)})
            if orders:
                return [with_words(text, window, order) for order in orders]
    return []


def with_words(text, window, words):
    around = [text[a.end() : b.start()] for a, b in zip(window, window[1:])] + [text[window[-1].end() :]]
    return text[: window[0].start()] + "".join(word + gap for word, gap in zip(words, around))


def without_escapes(text):
    """The text with its escape sequences, and the letters before its quote, blanked; every place stays."""
    blank = lambda match: "\0" * len(match.group())
    return re.sub(r"^[A-Za-z]+(?=['\"])|\\(?:x..|u....|U.{8}|N\{[^}]*\}|[0-7]{1,3}|.)", blank, text)


def is_literal(text, kind):
    try:
        return type(ast.literal_eval("(" + text + ")")) is kind
    except (ValueError, SyntaxError):
        return False
