"""Functions of Python's own standard library: text for the tiny model's tokenizer, and material for its warm start."""

from __future__ import annotations

import ast
import functools
import os
import random
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LEFT_OUT = ("test", "tests", "idlelib", "lib2to3", "site-packages", "ensurepip", "turtledemo", "pydoc_data", "encodings", "tkinter")


@dataclass(frozen=True)
class Function:
    """A function of a module, as it stands there."""

    path: str
    """Of its module in the library, e.g. `json/decoder.py`."""
    name: str
    first: int
    """Its first line in the module, from 1."""
    last: int


def library() -> Path:
    return Path(sysconfig.get_path("stdlib"))


@functools.cache
def module_paths() -> tuple[str, ...]:
    """Modules written in Python, sorted, without tests, tools and tables."""
    root = library()
    found: list[str] = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        found += [(Path(folder) / name).relative_to(root).as_posix() for name in files if name.endswith(".py")]
    return tuple(sorted(found))


def functions(path: str, source: str) -> Iterator[Function]:
    """Every function of a module, inner ones too, by place."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield Function(path, node.name, node.lineno, node.end_lineno or node.lineno)


def read(path: str) -> str | None:
    try:
        return (library() / path).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def texts(limit: int) -> Iterator[str]:
    """Sources of functions, of modules here and there, until so many characters are reached. The same on every run of one Python."""
    total = 0
    for path in random.Random(0).sample(paths := module_paths(), len(paths)):
        source = read(path)
        lines = (source or "").splitlines(keepends=True)
        for one in functions(path, source or ""):
            text = "".join(lines[one.first - 1 : one.last])
            total += len(text)
            if total > limit:
                return
            yield text
