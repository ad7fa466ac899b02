from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from repoforge_trainer.engine import Engine, RunConfig
from repoforge_trainer.samples import Sample, Target

VOCABULARY = 384


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with tied embeddings, random but not indifferent."""
    torch.manual_seed(7)
    config = Qwen3Config(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=512, tie_word_embeddings=True, initializer_range=0.2,
    )
    directory = tmp_path_factory.mktemp("model")
    Qwen3ForCausalLM(config).save_pretrained(directory)
    return directory


@pytest.fixture
def config(base: Path) -> RunConfig:
    return RunConfig(base=str(base))


@pytest.fixture
def engine(tmp_path: Path, config: RunConfig) -> Engine:
    engine = Engine(tmp_path / "trainer")
    engine.open_run("r", config)
    return engine


def sample(name: str, *, length: int = 12, targets: int = 4, advantage: float = 1.0, weight: float = 1.0, **more: object) -> Sample:
    """A sample whose tokens are drawn by its name, its last ones being targets."""
    generator = torch.Generator().manual_seed(sum(name.encode()))
    tokens = tuple(torch.randint(0, VOCABULARY, (length,), generator=generator).tolist())
    positions = range(length - targets, length)
    return Sample(name, tokens, tuple(Target(position, -5.0) for position in positions), advantage, weight, **more)  # type: ignore[arg-type]
