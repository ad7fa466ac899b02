"""`python -m repoforge_trainer.tiny --out DIR`: makes a model of a million parameters that a CPU can train, with random weights.

The shape is Qwen3's; the vocabulary is made from Python's own functions. One seed, one Python and one set of texts give the
same files. Such a model knows nothing: it is for demonstrations and tests, after a warm start.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from .files import write_directory, write_manifest
from .stdlib import texts

ROLES = ("system", "user", "assistant", "tool")
END = "<|end|>"
PAD = "<|pad|>"
# Append-only: what a conversation begins with stays as it was, whatever is said later, and answers end as they were sampled.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content or '' }}"
    + "{% if message.tool_calls %}{% for call in message.tool_calls %}{{ call.function.name }} {{ call.function.arguments }}{% endfor %}{% endif %}"
    + END
    + "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TEXT_CHARACTERS = 1_500_000


def make_tokenizer(vocabulary: int, more: Iterable[str], characters: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE; a letter or digit that stands alone is one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [PAD, END, *(f"<|{role}|>" for role in ROLES)]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(corpus(more, characters), trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, extra_special_tokens=special[2:], model_max_length=4096)
    fast.chat_template = CHAT_TEMPLATE
    return fast


def corpus(more: Iterable[str], characters: int) -> Iterator[str]:
    """Functions as they stand, and as a change shows them."""
    for text in texts(characters):
        yield text
        yield "".join(f"{'+-'[number % 2]}{line}" for number, line in enumerate(text.splitlines(keepends=True)))
    yield from more


SPREAD = 0.06
"""Standard deviation of the random weights. With Qwen3's 0.02, made for layers ten times as wide, this model needed three times
as many steps to learn."""


def make_model(tokenizer: PreTrainedTokenizerFast, vocabulary: int, seed: int, spread: float = SPREAD) -> Qwen3ForCausalLM:
    """Two layers, hidden 128, four heads of 32, tied embeddings: 0.95 million parameters. `spread`: of the random weights."""
    config = Qwen3Config(
        vocab_size=vocabulary, hidden_size=128, intermediate_size=384, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, head_dim=32, max_position_embeddings=4096, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, initializer_range=spread,
    )
    torch.manual_seed(seed)
    return Qwen3ForCausalLM(config).to(torch.float32)


def make(out: Path, seed: int, vocabulary: int = 4096, more: Iterable[str] = (), characters: int = TEXT_CHARACTERS) -> str:
    """Writes the model's directory, whole or not at all; returns the hash that stands for its files."""
    if out.exists() and not (out / "manifest.json").exists():
        raise SystemExit(f"{out} holds something else")
    tokenizer = make_tokenizer(vocabulary, more, characters)
    if len(tokenizer) != vocabulary:
        raise SystemExit(f"the texts make {len(tokenizer)} tokens, not {vocabulary}: give more text or ask for fewer")
    model = make_model(tokenizer, vocabulary, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    digest = ""

    def fill(directory: Path) -> None:
        nonlocal digest
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
        digest = write_manifest(directory, {"name": "tiny", "seed": seed})

    shutil.rmtree(out, ignore_errors=True)
    write_directory(out, fill)
    return digest


def main() -> None:
    parser = argparse.ArgumentParser(prog="repoforge_trainer.tiny", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory of the model; an older one is replaced")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--text", type=Path, action="append", default=[], help="more text for the vocabulary, e.g. of the tasks")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    more = [path.read_text(encoding="utf-8") for path in arguments.text]
    digest = make(arguments.out, arguments.seed, arguments.vocabulary, more)
    print(json.dumps({"path": str(arguments.out.resolve()), "sha256": digest}))


if __name__ == "__main__":
    main()
