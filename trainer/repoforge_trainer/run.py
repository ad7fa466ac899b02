"""What a run is, and where in it something happens."""

from __future__ import annotations

from dataclasses import dataclass, field

from .model import LoraOptions


@dataclass(frozen=True)
class RunConfig:
    """What a run is from its first step to its last."""

    base: str
    """Directory of the model that training begins with."""
    lora: LoraOptions | None = None
    dtype: str = "float32"
    gradient_checkpointing: bool = False
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.95
    max_gradient_norm: float = 1.0
    tokens_at_once: int = 16_384
    """Padded tokens of one forward pass."""


@dataclass(frozen=True)
class StepKey:
    step: int
    epoch: int = 0
    """Pass over the step's batch, from 0."""


@dataclass
class Gathered:
    """Parts of the step under way, whose gradients have been added up."""

    key: StepKey
    parts: dict[int, tuple[str, dict[str, float]]] = field(default_factory=dict)
    samples: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Version:
    name: str
    path: str
    sha256: str
    step: int
