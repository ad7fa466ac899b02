"""Parameters and optimizer as committed steps left them. Which of them count, the journal says."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from .files import write_directory
from .model import Policy

KEPT = 2


class Checkpoints:
    """Those of one run."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, step: int, policy: Policy, optimizer: torch.optim.Optimizer) -> str:
        """Writes a step's, whole on the disk when it returns; returns its name."""

        def fill(directory: Path) -> None:
            policy.save_weights(directory)
            torch.save(optimizer.state_dict(), directory / "optimizer.pt")

        self._directory.mkdir(parents=True, exist_ok=True)
        write_directory(self._directory / str(step), fill)
        return str(step)

    def load(self, name: str, policy: Policy, optimizer: torch.optim.Optimizer) -> None:
        policy.load_weights(self._directory / name)
        state = torch.load(self._directory / name / "optimizer.pt", map_location=policy.device, weights_only=True)
        optimizer.load_state_dict(state)

    def load_initial(self, policy: Policy) -> None:
        """What the run begins with, kept at its first start: an adapter is drawn, and must not be drawn again."""
        initial = self._directory / "0"
        if not (initial / "weights.safetensors").exists():
            self._directory.mkdir(parents=True, exist_ok=True)
            write_directory(initial, policy.save_weights)
        policy.load_weights(initial)

    def remove_old(self, now: int) -> None:
        """Keeps the newest of the committed steps; what a killed trainer left without committing it goes, too."""
        for directory in self._directory.iterdir():
            name = directory.name
            if not (name.isdigit() and now - KEPT < int(name) <= now):
                shutil.rmtree(directory, ignore_errors=True)
