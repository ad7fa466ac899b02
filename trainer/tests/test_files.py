import errno
import sqlite3
from pathlib import Path

import pytest

from repoforge_trainer.files import disk_is_full, read_manifest, write_directory, write_manifest


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "x"), True),
        (OSError(errno.EDQUOT, "x"), True),
        (OSError(errno.EACCES, "x"), False),
        (RuntimeError("I/O error: No space left on device (os error 28)"), True),
        (sqlite3.OperationalError("database or disk is full"), True),
        (RuntimeError("out of memory"), False),
    ],
)
def test_a_full_disk_is_told_from_other_troubles(tmp_path: Path, error: BaseException, full: bool):
    assert disk_is_full(error, tmp_path) is full


def test_a_directory_is_there_in_full_or_not_at_all(tmp_path: Path):
    target = tmp_path / "it"

    def half(directory: Path) -> None:
        (directory / "a").write_text("a")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_directory(target, half)
    assert list(tmp_path.iterdir()) == []

    def whole(directory: Path) -> None:
        (directory / "a").touch(mode=0o600)
        write_manifest(directory, {"name": "it"})

    write_directory(target, whole)
    manifest = read_manifest(target)
    assert manifest is not None and list(manifest["files"]) == ["a"]  # type: ignore[arg-type]
    assert (target / "a").stat().st_mode & 0o777 == 0o644  # others may read what is published
