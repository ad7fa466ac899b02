"""What was trained, so that nothing is trained twice: one SQLite file beside the checkpoints.

A step is committed by one transaction that names its checkpoint, which is whole on the disk by then. Whatever dies before
that leaves the step before as it was; a checkpoint without a row is removed at the next start.
"""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Refused(Exception):
    """A request that the state of the run does not allow; `kind` is for programs, the message for people."""

    def __init__(self, kind: str, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.kind = kind
        self.facts = facts


@dataclass(frozen=True)
class CommittedStep:
    step: int
    batch_hash: str
    checkpoint: str
    metrics: dict[str, float]
    committed_at: float
    """Seconds since the epoch."""
    samples: int


SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (run TEXT PRIMARY KEY, config TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS steps (
  run TEXT NOT NULL REFERENCES runs, step INTEGER NOT NULL, batch_hash TEXT NOT NULL, checkpoint TEXT NOT NULL,
  metrics TEXT NOT NULL, committed_at REAL NOT NULL, samples INTEGER NOT NULL, PRIMARY KEY (run, step)) STRICT;
CREATE TABLE IF NOT EXISTS trained (
  run TEXT NOT NULL, sample TEXT NOT NULL, step INTEGER NOT NULL, PRIMARY KEY (run, sample)) STRICT;
"""


class Journal:
    """Committed steps of all runs of one trainer directory. Not for several threads: the engine's lock guards it."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        self._db.close()

    def open_run(self, run: str, config: dict[str, Any]) -> None:
        """Begins a run or takes it up; a run keeps the configuration that it began with."""
        text = json.dumps(config, sort_keys=True)
        self._db.execute("INSERT OR IGNORE INTO runs VALUES (?, ?)", (run, text))
        (known,) = self._db.execute("SELECT config FROM runs WHERE run = ?", (run,)).fetchone()
        if known != text:
            raise Refused("other_config", f'the run "{run}" began with another configuration; give another run id', known=json.loads(known))

    def last(self, run: str) -> CommittedStep | None:
        return self._one("WHERE run = ? ORDER BY step DESC LIMIT 1", (run,))

    def step(self, run: str, step: int) -> CommittedStep | None:
        return self._one("WHERE run = ? AND step = ?", (run, step))

    def steps(self, run: str) -> list[CommittedStep]:
        return [self._row(row) for row in self._db.execute(f"SELECT {COLUMNS} FROM steps WHERE run = ? ORDER BY step", (run,))]

    def samples(self, run: str, step: int) -> list[str]:
        rows = self._db.execute("SELECT sample FROM trained WHERE run = ? AND step = ? ORDER BY sample", (run, step))
        return [sample for (sample,) in rows]

    def refuse_trained(self, run: str, samples: list[str]) -> None:
        """Throws when one of the samples belongs to a committed step."""
        for sample in samples:
            row = self._db.execute("SELECT step FROM trained WHERE run = ? AND sample = ?", (run, sample)).fetchone()
            if row is not None:
                raise Refused("already_trained", f"sample {sample} was trained in step {row[0]}", sample=sample, step=row[0])

    def commit(self, run: str, step: int, batch_hash: str, checkpoint: str, metrics: dict[str, float], samples: list[str]) -> CommittedStep:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            db.executemany("INSERT INTO trained VALUES (?, ?, ?)", [(run, sample, step) for sample in samples])
            row = (run, step, batch_hash, checkpoint, json.dumps(metrics), time.time(), len(samples))
            db.execute("INSERT INTO steps VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise
        committed = self.step(run, step)
        assert committed is not None
        return committed

    def _one(self, condition: str, values: tuple[Any, ...]) -> CommittedStep | None:
        row = self._db.execute(f"SELECT {COLUMNS} FROM steps {condition}", values).fetchone()
        return None if row is None else self._row(row)

    @staticmethod
    def _row(row: tuple[Any, ...]) -> CommittedStep:
        step, batch_hash, checkpoint, metrics, committed_at, samples = row
        return CommittedStep(step, batch_hash, checkpoint, json.loads(metrics), committed_at, samples)


COLUMNS = "step, batch_hash, checkpoint, metrics, committed_at, samples"
