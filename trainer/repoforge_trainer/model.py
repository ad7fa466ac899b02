"""The policy's weights: loading, which of them are trained, scoring targets, and what a sampler is given."""

from __future__ import annotations

import copy
import json
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, AutoTokenizer

from .losses import Scored, score
from .samples import Entry, Row

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TARGETS_AT_ONCE = 1024  # their logits take 0.6 GB with a vocabulary of 150,000


@dataclass(frozen=True)
class LoraOptions:
    rank: int
    alpha: float
    seed: int = 0
    target_modules: str | tuple[str, ...] = "all-linear"


class Policy:
    """A causal language model of which all parameters, or an adapter's, are trained.

    Full parameters are kept in fp32 whatever `dtype` is: a step of 1e-6 is lost in bf16. With an adapter the frozen base is
    kept in `dtype` and the adapter in fp32.
    """

    def __init__(self, base: Path, device: torch.device, dtype: torch.dtype, lora: LoraOptions | None, checkpointing: bool) -> None:
        self.base = base
        self.device = device
        self.lora = lora
        stored = torch.float32 if lora is None else dtype
        model = AutoModelForCausalLM.from_pretrained(base, dtype=stored, attn_implementation="sdpa").to(device)
        if lora is not None:
            torch.manual_seed(lora.seed)
            modules = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
            model = get_peft_model(model, LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=modules, lora_dropout=0.0, task_type="CAUSAL_LM"))
        if checkpointing:
            model.gradient_checkpointing_enable()
            model.enable_input_require_grads()
        without_dropout(model)
        model.train()  # without dropout this differs from evaluation only in that gradients may be kept
        self.model = model
        self._computing = torch.autocast(device.type, dtype) if dtype != torch.float32 else nullcontext()
        self._reference: Any = None
        self._tokenizer: Any = None

    @property
    def inner(self) -> Any:
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    @property
    def vocabulary(self) -> int:
        return int(self.inner.get_output_embeddings().weight.shape[0])

    def trained(self) -> dict[str, torch.nn.Parameter]:
        return {name: one for name, one in self.model.named_parameters() if one.requires_grad}

    def render(self, conversations: list[list[dict[str, str]]], open_answer: bool) -> list[list[int]]:
        """Token ids of conversations as a server renders them: by the model's own chat template."""
        if self._tokenizer is None:
            self._tokenizer = AutoTokenizer.from_pretrained(self.base)
        return [list(self._tokenizer.apply_chat_template(one, add_generation_prompt=open_answer, tokenize=True, return_dict=False)) for one in conversations]

    def score(self, rows: list[Row], entries: list[Entry]) -> Scored:
        """Scores of the rows' targets, in the order of `entries`."""
        return self._score(self.inner, rows, entries)

    @torch.no_grad()
    def reference_logprobs(self, rows: list[Row], entries: list[Entry]) -> Tensor:
        """Log-probabilities under the model that training began with."""
        if isinstance(self.model, PeftModel):
            with self.model.disable_adapter():
                return self._score(self.inner, rows, entries).logprob
        if self._reference is None:
            fresh = AutoModelForCausalLM.from_pretrained(self.base, dtype=torch.float32, attn_implementation="sdpa")
            self._reference = fresh.to(self.device).eval()
        return self._score(self._reference, rows, entries).logprob

    def _score(self, model: Any, rows: list[Row], entries: list[Entry]) -> Scored:
        longest = max(len(row.token_ids) for row in rows)
        ids = torch.zeros((len(rows), longest), dtype=torch.long)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        for index, row in enumerate(rows):
            ids[index, : len(row.token_ids)] = torch.tensor(row.token_ids)
            mask[index, : len(row.token_ids)] = 1
        places = {id(entry): index for index, row in enumerate(rows) for entry in row.entries}
        at_row = torch.tensor([places[id(entry)] for entry in entries], device=self.device)
        at = torch.tensor([entry.at for entry in entries], device=self.device)
        with self._computing:
            states = model.get_decoder()(input_ids=ids.to(self.device), attention_mask=mask.to(self.device), use_cache=False).last_hidden_state
        picked = states[at_row, at]
        pieces = range(0, len(entries), TARGETS_AT_ONCE)
        return joined([self._head(model, picked[start : start + TARGETS_AT_ONCE], entries[start : start + TARGETS_AT_ONCE]) for start in pieces])

    def _head(self, model: Any, states: Tensor, entries: list[Entry]) -> Scored:
        """Scores of a piece; its logits are worked out again for the gradient instead of kept."""

        def run(states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            with self._computing:
                logits = model.get_output_embeddings()(states)
            tokens = torch.tensor([entry.token for entry in entries], device=self.device)
            temperatures = torch.tensor([entry.sample.temperature for entry in entries], device=self.device)
            scored = score(logits, tokens, self._allowed(entries, logits.shape[-1]), temperatures)
            return scored.logprob, scored.entropy, scored.log_mass

        if torch.is_grad_enabled():
            return Scored(*checkpoint(run, states, use_reentrant=False))
        return Scored(*run(states))

    def _allowed(self, entries: list[Entry], vocabulary: int) -> Tensor | None:
        sets = {entry.target.allowed for entry in entries}
        if sets == {None}:
            return None
        order = list(sets)
        masks = torch.zeros((len(order), vocabulary), dtype=torch.bool)
        for index, one in enumerate(order):
            if one is None:
                masks[index] = True
            else:
                masks[index, list(one)] = True
        return masks.to(self.device)[torch.tensor([order.index(entry.target.allowed) for entry in entries], device=self.device)]

    def save_weights(self, directory: Path) -> None:
        """What is trained, for `load_weights`."""
        save_file({name: one.detach().contiguous().cpu() for name, one in self.trained().items()}, directory / "weights.safetensors")

    @torch.no_grad()
    def load_weights(self, directory: Path) -> None:
        stored = load_file(directory / "weights.safetensors")
        trained = self.trained()
        if stored.keys() != trained.keys():
            raise ValueError(f"{directory} holds other parameters than this run trains")
        for name, one in trained.items():
            one.copy_(stored[name])

    def export(self, directory: Path) -> None:
        """What a sampler loads: an adapter as PEFT writes it, or a whole model with its head written out.

        A server that reloads a model with tied embeddings keeps its old head unless the head is in the file.
        """
        if isinstance(self.model, PeftModel):
            self.model.save_pretrained(str(directory), safe_serialization=True)
            return
        dtype = DTYPES.get(str(self.inner.config.dtype).removeprefix("torch."), torch.float32)
        state = {name: one.detach().to(dtype).contiguous().cpu().clone() for name, one in self.model.state_dict().items()}
        state["lm_head.weight"] = self.inner.get_output_embeddings().weight.detach().to(dtype).cpu().clone()
        save_file(state, directory / "model.safetensors", metadata={"format": "pt"})
        config = copy.deepcopy(self.inner.config)
        (directory / "config.json").write_text(json.dumps(config.to_dict(), indent=1, default=str))
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json", "special_tokens_map.json"):
            if (self.base / name).exists():
                (directory / name).write_bytes((self.base / name).read_bytes())


def without_dropout(model: torch.nn.Module) -> None:
    """The sampler has none: with it no log-probability would be the sampler's, nor the same twice."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0


def joined(pieces: list[Scored]) -> Scored:
    return Scored(*(torch.cat([getattr(piece, name) for piece in pieces]) for name in ("logprob", "entropy", "log_mass")))
