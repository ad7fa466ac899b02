"""The gradient of a part's loss, added to what the parameters hold."""

from __future__ import annotations

import torch
from torch import Tensor

from .losses import LossOptions, token_loss
from .metrics import Sums
from .model import Policy
from .samples import Sample, micro_batches, rows_of


def sum_gradients(
    policy: Policy, samples: list[Sample], loss: LossOptions, start: Tensor | None, tokens_at_once: int
) -> tuple[dict[str, float], Tensor]:
    """Returns the part's metrics, and the log-probabilities of its targets when the step began: `start`, or on the first pass
    those of now."""
    sums = Sums()
    first = torch.zeros(sum(len(sample.targets) for sample in samples), device=policy.device)
    for batch in micro_batches(rows_of(samples), tokens_at_once):
        entries = [entry for row in batch for entry in row.entries]
        order = torch.tensor([entry.order for entry in entries], device=policy.device)
        scored = policy.score(batch, entries)
        recorded = torch.tensor([entry.target.logprob for entry in entries], device=policy.device)
        advantage = torch.tensor([entry.sample.advantage for entry in entries], device=policy.device)
        weight = torch.tensor([entry.sample.weight for entry in entries], device=policy.device)
        own_start = scored.logprob.detach() if start is None else start[order]
        first[order] = own_start
        reference = policy.reference_logprobs(batch, entries) if loss.kl_coefficient > 0 else None
        result = token_loss(scored, recorded, advantage, loss, own_start, reference)
        total = (result.loss * weight).sum()
        total.backward()
        sums.add(total, scored, recorded, result.clipped, reference)
    return sums.metrics(), first
