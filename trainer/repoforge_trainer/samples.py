"""What the trainer is sent, and how it is laid out for one forward pass.

A sample is one branch of a trajectory: token ids, and of those that the policy sampled, the log-probability that was
recorded then. Samples of a group often share their whole input (a choice of one token after one prompt): equal inputs are
forwarded once.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field

from .losses import LossOptions


class BadSample(ValueError):
    """A sample that cannot be trained on; the message says which and why."""


@dataclass(frozen=True)
class Target:
    """One sampled token. `position` is its place in the sample's `token_ids` (from 1: the first token has no context)."""

    position: int
    logprob: float
    """Natural log of the probability it was sampled with: at the sample's temperature, over `allowed` where given."""
    allowed: tuple[int, ...] | None = None
    """Token ids that the sampler could choose from; None is the whole vocabulary."""


@dataclass(frozen=True)
class Sample:
    """One branch of a trajectory, with the advantage that the orchestrator gave its episode."""

    sample_id: str
    token_ids: tuple[int, ...]
    targets: tuple[Target, ...]
    advantage: float = 1.0
    weight: float = 1.0
    """Factor of every target's loss. For a mean over all tokens of a step: 1 ÷ their number."""
    temperature: float = 1.0

    def check(self, vocabulary: int) -> None:
        where = f"sample {self.sample_id}"
        if not self.temperature > 0:
            raise BadSample(f"{where}: temperature {self.temperature} is not above 0")
        if any(not 0 <= token < vocabulary for token in self.token_ids):
            raise BadSample(f"{where}: a token id is outside the vocabulary of {vocabulary}")
        for target in self.targets:
            if not 1 <= target.position < len(self.token_ids):
                raise BadSample(f"{where}: position {target.position} is not one of tokens 1 to {len(self.token_ids) - 1}")
            if target.allowed is None:
                continue
            if self.token_ids[target.position] not in target.allowed:
                raise BadSample(f"{where}: the token at {target.position} is not among those that were allowed there")
            if any(not 0 <= token < vocabulary for token in target.allowed):
                raise BadSample(f"{where}: an allowed token at {target.position} is outside the vocabulary of {vocabulary}")


def part_hash(samples: list[Sample], loss: LossOptions) -> str:
    """Digest of a part's samples and of what is done with them, equal for equal content."""
    text = json.dumps([asdict(loss), *(asdict(sample) for sample in samples)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class Row:
    """One distinct input, and every target that is read off it."""

    token_ids: tuple[int, ...]
    entries: list[Entry] = field(default_factory=list)


@dataclass(frozen=True)
class Entry:
    """One target of one sample: the prediction at `at` is for `token`."""

    sample: Sample
    target: Target
    order: int
    """Place among the part's targets, in the order of samples and positions."""

    @property
    def at(self) -> int:
        return self.target.position - 1

    @property
    def token(self) -> int:
        return self.sample.token_ids[self.target.position]

    @property
    def free(self) -> bool:
        """Whether there was a choice: where one token was allowed, nothing can be learned."""
        return self.target.allowed is None or len(self.target.allowed) > 1


def rows_of(samples: list[Sample], *, free_only: bool = True) -> list[Row]:
    """Distinct inputs of the samples, the longest first, each cut off behind its last target."""
    rows: dict[tuple[int, ...], Row] = {}
    order = 0
    for sample in samples:
        entries = []
        for target in sample.targets:
            entry = Entry(sample, target, order)
            order += 1
            if entry.free or not free_only:
                entries.append(entry)
        if not entries:
            continue
        end = max(entry.at for entry in entries) + 1
        context = sample.token_ids[:end]
        rows.setdefault(context, Row(context)).entries.extend(entries)
    return sorted(rows.values(), key=lambda row: -len(row.token_ids))


def micro_batches(rows: list[Row], max_tokens: int) -> list[list[Row]]:
    """Rows in batches that hold, padded to their longest, at most so many tokens (a longer row goes alone)."""
    batches: list[list[Row]] = []
    for row in rows:
        last = batches[-1] if batches else None
        if last and len(last[0].token_ids) * (len(last) + 1) <= max_tokens:
            last.append(row)
        else:
            batches.append([row])
    return batches
