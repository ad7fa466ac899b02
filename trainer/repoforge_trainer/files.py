"""Directories that are there in full or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

MANIFEST = "manifest.json"


def write_directory(target: Path, fill: Callable[[Path], None]) -> None:
    """Fills a directory beside `target`, flushes it, and gives it its name in one step. An older `target` is replaced."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        fill(temporary)
        for path in temporary.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)  # some libraries write for their own user alone; a server may be another
            flush(path)
        temporary.chmod(0o755)
        flush(temporary)
        shutil.rmtree(target, ignore_errors=True)
        os.rename(temporary, target)
        flush(target.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def remove_unfinished(directory: Path) -> None:
    """Removes what a killed `write_directory` left; only where no other process writes."""
    for temporary in directory.glob(".*.tmp"):
        shutil.rmtree(temporary, ignore_errors=True)


def flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_manifest(directory: Path, facts: dict[str, object]) -> str:
    """Names every file with its hash; returns the SHA-256 of that list, which stands for the whole directory."""
    files = {
        path.relative_to(directory).as_posix(): hashlib.file_digest(path.open("rb"), "sha256").hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    (directory / MANIFEST).write_text(json.dumps({**facts, "sha256": digest, "files": files}, indent=1))
    return digest


def read_manifest(directory: Path) -> dict[str, object] | None:
    try:
        return json.loads((directory / MANIFEST).read_text())
    except (OSError, ValueError):
        return None


FULL_BYTES = 2**20


def disk_is_full(error: BaseException, directory: Path) -> bool:
    """Whether something failed because there was no room: each library that writes says so in its own way, or not at all."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    if "No space left on device" in str(error) or "disk is full" in str(error):
        return True
    return shutil.disk_usage(directory).free < FULL_BYTES
