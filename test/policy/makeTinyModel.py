"""Makes the trainer's tiny model with random weights, and what tests load on a server: adapters and other full weights.

    PYTHONPATH=trainer python makeTinyModel.py DIRECTORY

writes `base` (tied embeddings, as small models are published), `adapter-1` and `adapter-2` (LoRA of rank 8 on all linear
layers), `full-0` and `full-1` (the base's and other weights, with the output head written out), `tied-1` (as `full-1`, without
the head), each with a manifest as the trainer writes it, and `probe.json`: what transformers says of a fixed sequence under each.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import torch
from repoforge_trainer.tiny import make_model, make_tokenizer
from safetensors.torch import save_file
from transformers import Qwen3ForCausalLM

VOCABULARY = 4096
RANK = 8
TEXT_CHARACTERS = 400_000  # enough for the vocabulary
SPREAD = 0.2  # with the usual 0.02 a random model says every token alike, and no test could tell two apart

tokenizer = make_tokenizer(VOCABULARY, (), TEXT_CHARACTERS)


def tiny(seed: int) -> Qwen3ForCausalLM:
    return make_model(tokenizer, VOCABULARY, seed, SPREAD)


SHAPES = {
    "self_attn": {"q_proj": (128, 128), "k_proj": (128, 128), "v_proj": (128, 128), "o_proj": (128, 128)},
    "mlp": {"gate_proj": (128, 384), "up_proj": (128, 384), "down_proj": (384, 128)},
}
ALPHA = 16


def adapter(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(2):
        for block, modules in SHAPES.items():
            for name, (inputs, outputs) in modules.items():
                prefix = f"layers.{layer}.{block}.{name}"
                tensors[f"{prefix}.lora_A"] = torch.randn(RANK, inputs, generator=generator) * 0.1
                tensors[f"{prefix}.lora_B"] = torch.randn(outputs, RANK, generator=generator) * 0.1
    return tensors


def write_adapter(directory: Path, tensors: dict[str, torch.Tensor]) -> None:
    directory.mkdir(parents=True)
    save_file({f"base_model.model.model.{name}.weight": one for name, one in tensors.items()}, directory / "adapter_model.safetensors")
    modules = [name for block in SHAPES.values() for name in block]
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": ALPHA, "target_modules": modules, "lora_dropout": 0.0, "bias": "none", "base_model_name_or_path": None}
    (directory / "adapter_config.json").write_text(json.dumps(config))


def merged(seed: int, tensors: dict[str, torch.Tensor]) -> Qwen3ForCausalLM:
    model = tiny(seed)
    for name in {name.removesuffix(".lora_A").removesuffix(".lora_B") for name in tensors}:
        weight = model.model.get_submodule(name).weight
        weight.data += ALPHA / RANK * tensors[f"{name}.lora_B"] @ tensors[f"{name}.lora_A"]
    return model


def write_full(directory: Path, model: Qwen3ForCausalLM, head: bool) -> None:
    model.save_pretrained(directory)
    tensors = {name: one.detach().clone().contiguous() for name, one in model.state_dict().items()}
    if not head:
        del tensors["lm_head.weight"]
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})


def write_manifest(directory: Path) -> None:
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(directory.iterdir())}
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    (directory / "manifest.json").write_text(json.dumps({"sha256": digest, "files": files}))


@torch.no_grad()
def logprobs(model: Qwen3ForCausalLM, token_ids: list[int]) -> list[float]:
    ids = torch.tensor([token_ids])
    scores = model.eval()(ids).logits[0, :-1].log_softmax(-1)
    return scores.gather(-1, ids[0, 1:, None])[:, 0].tolist()


def main(root: Path) -> None:
    base, other = tiny(1), tiny(2)
    adapters = {"adapter-1": adapter(1), "adapter-2": adapter(2)}
    base.save_pretrained(root / "base")
    tokenizer.save_pretrained(root / "base")
    for name, tensors in adapters.items():
        write_adapter(root / name, tensors)
    write_full(root / "full-0", base, head=True)
    write_full(root / "full-1", other, head=True)
    write_full(root / "tied-1", other, head=False)
    for name in (*adapters, "full-0", "full-1", "tied-1"):
        write_manifest(root / name)
    token_ids = [(at * 97 + 5) % (VOCABULARY - 10) + 10 for at in range(48)]
    expected = {"base": logprobs(base, token_ids), "full-1": logprobs(other, token_ids)}
    expected |= {name: logprobs(merged(1, tensors), token_ids) for name, tensors in adapters.items()}
    (root / "probe.json").write_text(json.dumps({"token_ids": token_ids, "expected": expected}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
