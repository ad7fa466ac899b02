from __future__ import annotations

import difflib
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from repoforge_trainer import bugs, stdlib, tiny
from repoforge_trainer.files import read_manifest

SMALL = {"vocabulary": 600, "characters": 60_000}
RULES = Path(__file__).parents[2] / "src" / "ecosystems" / "python" / "mutations.py"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tiny") / "model"
    tiny.make(directory, 0, **SMALL)
    return directory


def test_one_seed_makes_the_same_files_and_another_seed_replaces_them_by_others(model: Path, tmp_path: Path):
    known = read_manifest(model)
    assert known is not None
    assert tiny.make(tmp_path / "again", 0, **SMALL) == known["sha256"]
    assert tiny.make(tmp_path / "again", 1, **SMALL) != known["sha256"]


def test_something_else_is_not_replaced(tmp_path: Path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(SystemExit, match="holds something else"):
        tiny.make(tmp_path / "mine", 0, **SMALL)


def test_letters_are_single_tokens_and_a_conversation_only_grows(model: Path):
    tokenizer = AutoTokenizer.from_pretrained(model)
    assert all(len(tokenizer.encode(letter)) == 1 for letter in "ABCD")
    told = [{"role": "user", "content": "A:\n-    return 1\n+    return 2\n"}, {"role": "assistant", "content": "A"}, {"role": "tool", "content": "no\n"}]

    def ids(count: int, answer: bool) -> list[int]:
        return list(tokenizer.apply_chat_template(told[:count], add_generation_prompt=answer, tokenize=True, return_dict=False))

    prompt, answered = ids(1, True), ids(2, False)
    assert answered[: len(prompt)] == prompt
    assert answered[len(prompt) :] == [*tokenizer.encode("A"), tokenizer.eos_token_id]
    assert ids(3, True)[: len(answered)] == answered


def test_the_model_has_the_shape_that_it_says(model: Path):
    loaded = AutoModelForCausalLM.from_pretrained(model)
    assert loaded.config.tie_word_embeddings
    layers = sum(one.numel() for one in loaded.parameters()) - 600 * 128
    assert layers == 951_040 - 4096 * 128


def test_bugs_are_the_same_for_a_seed_and_their_patches_take_them_out():
    rules = bugs.load(RULES)
    made = [one for _, one in zip(range(6), bugs.bugs(rules, 3))]
    assert made == [one for _, one in zip(range(6), bugs.bugs(rules, 3))]
    assert len({one["id"] for one in made}) == 6
    for one in made:
        path = one["patch"].splitlines()[0].split(" b/")[-1]
        fixed = (stdlib.read(path) or "").splitlines()
        added = [line[1:] for line in one["patch"].splitlines()[3:] if line.startswith("+")]
        removed = [line[1:] for line in one["patch"].splitlines()[3:] if line.startswith("-")]
        assert added != removed
        assert all(line in fixed for line in added), one["id"]


def test_functions_are_found_where_they_stand():
    source = stdlib.read("textwrap.py") or ""
    lines = source.splitlines()
    found = {one.name: one for one in stdlib.functions("textwrap.py", source)}
    assert lines[found["dedent"].first - 1].startswith("def dedent(")
    assert difflib.get_close_matches("textwrap.py", stdlib.module_paths())
    assert not any(path.startswith("test/") for path in stdlib.module_paths())
