"""`python -m repoforge_trainer.bench`: tokens trained per second, and how far bf16 is from fp32, on a model made on the spot."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from .engine import Engine, RunConfig, StepKey
from .losses import LossOptions
from .model import LoraOptions
from .samples import Sample, Target

# layers, hidden, heads, key-value heads, intermediate: the shapes of Qwen3 0.6B and 8B
SHAPES = {"tiny": (2, 128, 4, 4, 384), "0.6B": (28, 1024, 16, 8, 3072), "8B": (36, 4096, 32, 8, 12288)}


def make(shape: str, vocabulary: int, directory: Path) -> None:
    layers, hidden, heads, key_value, intermediate = SHAPES[shape]
    config = Qwen3Config(
        vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=key_value,
        intermediate_size=intermediate, head_dim=128 if hidden >= 1024 else 32, max_position_embeddings=40_960, tie_word_embeddings=hidden < 4096,
    )
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Qwen3ForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(directory)


def samples_of(step: int, count: int, length: int, targets: int, vocabulary: int) -> list[Sample]:
    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(0, vocabulary, (count, length), generator=generator).tolist()
    places = tuple(Target(position, -11.0) for position in range(length - targets, length))
    return [Sample(f"{step}-{n}", tuple(tokens), places, 1.0 if n % 2 else -1.0, 1 / (count * targets)) for n, tokens in enumerate(ids)]


def measure(shape: str, device: str, dtype: str, lora: bool, arguments: argparse.Namespace, base: Path) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as directory:
        engine = Engine(Path(directory), device)
        options = LoraOptions(rank=16, alpha=32) if lora else None
        config = RunConfig(str(base), options, dtype, gradient_checkpointing=shape != "tiny", tokens_at_once=arguments.tokens_at_once)
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        engine.open_run("bench", config)
        seconds: dict[str, list[float]] = {"forward_backward": [], "optim_step": [], "publish": []}
        tokens = 0
        for step in range(1, arguments.steps + 2):  # the first is for warming up
            batch = samples_of(step, arguments.samples, arguments.length, arguments.targets, arguments.vocabulary)
            tokens = sum(len(one.token_ids) for one in batch)
            begun = time.perf_counter()
            digest = engine.forward_backward("bench", StepKey(step), 0, batch, LossOptions())["hash"]
            between = time.perf_counter()
            engine.optim_step("bench", StepKey(step), {0: digest}, [one.sample_id for one in batch], str(step), 1e-6, True)
            taken = time.perf_counter()
            engine.publish("bench", step)
            times = (between - begun, taken - between, time.perf_counter() - taken)
            for name, value in zip(seconds, times):
                seconds[name].append(value)
        probe = samples_of(0, 2, 256, 64, arguments.vocabulary)
        probed = [value for one in engine.forward("bench", probe) for value in one]
        medians = {f"{name}_s": round(statistics.median(values[1:]), 3) for name, values in seconds.items()}
        whole = sum(medians.values())
        memory = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None
        return {
            "shape": shape, "dtype": dtype, "trained": "lora r16" if lora else "full", "tokens_per_step": tokens,
            "tokens_per_s": round(tokens / medians["forward_backward_s"]), "tokens_per_s_with_step_and_publish": round(tokens / whole),
            **medians, "peak_memory_gib": None if memory is None else round(memory, 1), "probe": probed,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default="tiny", help=f"comma separated, of {', '.join(SHAPES)}")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--full", default="tiny,0.6B", help="shapes of which all parameters are trained, too")
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--targets", type=int, default=512)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--tokens-at-once", type=int, default=16_384)
    arguments = parser.parse_args()
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu"
    runs: list[dict[str, object]] = []
    for shape in arguments.shapes.split(","):
        with tempfile.TemporaryDirectory() as directory:
            make(shape, arguments.vocabulary, Path(directory))
            for lora in (True, False):
                if not lora and shape not in arguments.full.split(","):
                    continue
                group = [measure(shape, arguments.device, dtype, lora, arguments, Path(directory)) for dtype in ("float32", "bfloat16")]
                exact, rough = (run.pop("probe") for run in group)
                group[1]["max_difference_from_float32"] = max(abs(a - b) for a, b in zip(exact, rough))  # type: ignore[arg-type]
                runs += group
                for run in group:
                    print(json.dumps(run), flush=True)
    print(json.dumps({"bench": "trainer", "device": device, "torch": torch.__version__, "runs": runs}))


if __name__ == "__main__":
    main()
