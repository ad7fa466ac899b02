"""What is told of a step: sums over the targets of a part, and their means over the whole step."""

from __future__ import annotations

from typing import Any

import torch

from .losses import k3


class Sums:
    """Sums over targets, for metrics that can be merged over parts."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {"loss": 0.0, "tokens": 0.0, "clipped": 0.0, "entropy": 0.0, "mismatch_kl": 0.0, "kl": 0.0}
        self.mismatch_max = 0.0
        self.log_mass_min = 0.0

    def add(self, loss: torch.Tensor, scored: Any, recorded: torch.Tensor, clipped: torch.Tensor, reference: torch.Tensor | None) -> None:
        with torch.no_grad():
            difference = scored.logprob - recorded
            values = self.values
            values["loss"] += float(loss)
            values["tokens"] += difference.numel()
            values["clipped"] += float(clipped.sum())
            values["entropy"] += float(scored.entropy.sum())
            values["mismatch_kl"] += float(k3(difference).sum())
            values["kl"] += 0.0 if reference is None else float(k3(reference - scored.logprob).sum())
            self.mismatch_max = max(self.mismatch_max, float(difference.abs().max()))
            self.log_mass_min = min(self.log_mass_min, float(scored.log_mass.min()))

    def metrics(self) -> dict[str, float]:
        return {**self.values, "mismatch_max": self.mismatch_max, "log_mass_min": self.log_mass_min}


def merged(parts: list[dict[str, float]]) -> dict[str, float]:
    """Metrics of a whole step: means over its targets, extremes over its parts."""
    total = {name: sum(part[name] for part in parts) for name in parts[0]}
    tokens = max(total["tokens"], 1.0)
    return {
        "loss": total["loss"],
        "tokens": total["tokens"],
        "clip_fraction": total["clipped"] / tokens,
        "entropy": total["entropy"] / tokens,
        "mismatch_kl": total["mismatch_kl"] / tokens,
        "kl": total["kl"] / tokens,
        "mismatch_max": max(part["mismatch_max"] for part in parts),
        "log_mass_min": min(part["log_mass_min"] for part in parts),
    }
