"""Losses over the sampled tokens of a micro-batch, as vectors of one value per target.

Clipped ratio: PPO's objective (Schulman et al. 2017) against the log-probabilities recorded at sampling, with the two bounds
of DAPO ("clip-higher", Yu et al. 2025). Truncated importance sampling: Yao et al. 2025. KL: Schulman's k3 estimator.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MAX_LOG_RATIO = 20.0  # exp(20) is far outside every clip range and still finite in fp32


class BadLoss(ValueError):
    """Options of a loss that make no sense together."""


@dataclass(frozen=True)
class LossOptions:
    """`cross_entropy` ignores advantages and all options; the others belong to `clipped_ratio`."""

    name: str = "clipped_ratio"
    clip_low: float = 0.2
    clip_high: float = 0.28
    tis_cap: float | None = None
    """Truncated importance sampling: the ratio is against the trainer's own log-probabilities at the start of the step, and
    the loss is multiplied by min(exp(those - recorded), cap)."""
    kl_coefficient: float = 0.0
    """Weight of k3(policy, reference), the reference being the model that training began with."""
    entropy_coefficient: float = 0.0
    """Weight of the entropy that is rewarded, over what was allowed."""

    def check(self) -> None:
        if self.name not in ("clipped_ratio", "cross_entropy"):
            raise BadLoss(f'there is no loss "{self.name}"; losses are clipped_ratio and cross_entropy')
        if not (0 <= self.clip_low < 1 and self.clip_high >= 0):
            raise BadLoss("clip_low must be in [0, 1), and clip_high at least 0")
        if self.tis_cap is not None and self.tis_cap < 1:
            raise BadLoss("tis_cap must be at least 1")
        if self.kl_coefficient < 0:
            raise BadLoss("kl_coefficient must be at least 0")


@dataclass(frozen=True)
class Scored:
    """What the model says of the targets of a micro-batch, one value each, fp32."""

    logprob: Tensor
    entropy: Tensor
    log_mass: Tensor
    """Log of the probability that everything allowed has together."""


def score(logits: Tensor, tokens: Tensor, allowed: Tensor | None, temperature: Tensor) -> Scored:
    """Log-probabilities of `tokens` [n] under `logits` [n, vocabulary] ÷ temperature [n], renormalised over `allowed`.

    allowed: [n, vocabulary], True where the sampler could choose; None when that is everywhere.
    """
    scaled = logits.float() / temperature[:, None]
    everything = torch.logsumexp(scaled, dim=-1)
    if allowed is not None:
        scaled = scaled.masked_fill(~allowed, float("-inf"))
    logprobs = torch.log_softmax(scaled, dim=-1)
    probabilities = logprobs.exp()
    # 0 · -inf where nothing is allowed
    entropy = -(probabilities * logprobs.masked_fill(probabilities == 0, 0.0)).sum(dim=-1)
    return Scored(
        logprob=logprobs.gather(-1, tokens[:, None])[:, 0],
        entropy=entropy,
        log_mass=torch.logsumexp(scaled, dim=-1) - everything,
    )


@dataclass(frozen=True)
class TokenLoss:
    loss: Tensor
    clipped: Tensor
    """1 where the bound was active and took the gradient away."""


def token_loss(
    scored: Scored,
    recorded: Tensor,
    advantage: Tensor,
    options: LossOptions,
    start: Tensor | None = None,
    reference: Tensor | None = None,
) -> TokenLoss:
    """Loss of each target. `start`: the trainer's log-probabilities when the step began; `reference`: those of the reference."""
    if options.name == "cross_entropy":
        return TokenLoss(-scored.logprob, torch.zeros_like(scored.logprob))
    anchor = recorded if options.tis_cap is None or start is None else start
    ratio = (scored.logprob - anchor).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    plain = ratio * advantage
    bounded = ratio.clamp(1 - options.clip_low, 1 + options.clip_high) * advantage
    loss = -torch.minimum(plain, bounded)
    clipped = (bounded < plain).float()
    if options.tis_cap is not None and start is not None:
        weight = (start - recorded).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp().clamp(max=options.tis_cap)
        loss = loss * weight
    if options.kl_coefficient > 0:
        if reference is None:
            raise BadLoss("a KL term needs the reference's log-probabilities")
        loss = loss + options.kl_coefficient * k3(reference - scored.logprob)
    if options.entropy_coefficient != 0:
        loss = loss - options.entropy_coefficient * scored.entropy
    return TokenLoss(loss, clipped)


def k3(log_ratio: Tensor) -> Tensor:
    """Schulman's estimator of a KL divergence from log ratios: exp(x) - x - 1, never below 0."""
    bounded = log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return bounded.exp() - bounded - 1
