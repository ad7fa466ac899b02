"""`python -m repoforge_trainer.bugs --mutations FILE`: bugs in Python's own standard library, as JSON lines, for a warm start.

Each is one slip of the hand in one function, made by RepoForge's own rules (`src/ecosystems/python/mutations.py`): the patch
takes it out again. Nothing is run: whether a test would notice is not known, and does not matter for a warm start.
"""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from .stdlib import module_paths, read

MAX_MODULE_CHARACTERS = 20_000  # all bugs of a module are found before some are drawn: larger ones take seconds
PER_MODULE = 3


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("repoforge_mutations", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is no Python module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def bugs(rules: ModuleType, seed: int) -> Iterator[dict[str, str]]:
    """Bugs of modules in drawn order, of a few functions each. One seed and one Python give the same."""
    draws = random.Random(seed)
    paths = module_paths()
    for path in draws.sample(paths, len(paths)):
        source = read(path)
        if source is None or len(source) > MAX_MODULE_CHARACTERS:
            continue
        found = rules.mutations(source)
        seen: set[str] = set()
        for bug in draws.sample(found, len(found)):
            if bug.function in seen:
                continue
            seen.add(bug.function)
            yield entry(path, source, bug)
            if len(seen) == PER_MODULE:
                break


def entry(path: str, source: str, bug: object) -> dict[str, str]:
    module = path.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")
    name = str(bug.function)  # type: ignore[attr-defined]
    lines = (bug.source.splitlines(keepends=True), source.splitlines(keepends=True))  # type: ignore[attr-defined]
    change = "".join(difflib.unified_diff(*lines, f"a/{path}", f"b/{path}"))
    return {
        "id": f"{module}.{name}:{bug.line}:{bug.kind}",  # type: ignore[attr-defined]
        "module": module,
        "function": name,
        "patch": f"diff --git a/{path} b/{path}\n{change}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="repoforge_trainer.bugs", description=__doc__)
    parser.add_argument("--mutations", type=Path, required=True, help="RepoForge's mutations.py")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for number, one in enumerate(bugs(load(arguments.mutations), arguments.seed)):
        if number == arguments.count:
            break
        sys.stdout.write(json.dumps(one) + "\n")


if __name__ == "__main__":
    main()
