from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from conftest import VOCABULARY, sample
from repoforge_trainer.engine import Engine, RunConfig, StepKey
from repoforge_trainer.journal import Refused
from repoforge_trainer.losses import LossOptions
from repoforge_trainer.model import LoraOptions
from repoforge_trainer.samples import Sample, Target

LOSS = LossOptions()
LORA = LoraOptions(rank=4, alpha=8)


def truth(model: torch.nn.Module, one: Sample) -> list[float]:
    """Transformers' own log-probabilities of a sample's targets."""
    with torch.no_grad():
        logits = model(torch.tensor([one.token_ids])).logits[0].float() / one.temperature
    return [torch.log_softmax(logits[target.position - 1], -1)[one.token_ids[target.position]].item() for target in one.targets]


def step(engine: Engine, number: int, parts: list[list[Sample]], *, rate: float = 1e-2, epochs: int = 1, run: str = "r", loss: LossOptions = LOSS) -> dict:
    answer: dict = {}
    for epoch in range(epochs):
        key = StepKey(number, epoch)
        hashes = {index: engine.forward_backward(run, key, index, part, loss)["hash"] for index, part in enumerate(parts)}
        ids = [one.sample_id for part in parts for one in part]
        answer = engine.optim_step(run, key, hashes, ids, "batch-" + ids[0], rate, epoch == epochs - 1)
    return answer


def weights(engine: Engine) -> dict[str, torch.Tensor]:
    return {name: one.detach().clone() for name, one in engine._policy.trained().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def refusal(kind: str, work) -> Refused:
    with pytest.raises(Refused) as caught:
        work()
    assert caught.value.kind == kind
    return caught.value


def test_forward_says_what_transformers_says(engine: Engine, base: Path):
    model = AutoModelForCausalLM.from_pretrained(base)
    samples = [sample("a"), sample("bb", length=30, targets=9, temperature=0.7)]
    for one, found in zip(samples, engine.forward("r", samples)):
        assert found == pytest.approx(truth(model, one), abs=1e-5)


def test_gradients_of_shared_inputs_and_of_parts_add_up_to_those_of_single_samples(engine: Engine, base: Path):
    prompt = sample("p").token_ids
    samples = [
        Sample(f"s{token}", (*prompt, token), (Target(len(prompt), -1.2, (3, 5, 9)),), advantage=token - 5.0, weight=0.25)
        for token in (3, 5, 9)
    ]
    engine.forward_backward("r", StepKey(1), 0, samples[:2], LOSS)
    engine.forward_backward("r", StepKey(1), 1, samples[2:], LOSS)
    found = {name: one.grad.clone() for name, one in engine._policy.trained().items()}
    model = AutoModelForCausalLM.from_pretrained(base)
    for one in samples:
        logits = model(torch.tensor([one.token_ids])).logits[0, -2]
        masked = torch.full_like(logits, float("-inf"))
        masked[[3, 5, 9]] = logits[[3, 5, 9]]
        ratio = (torch.log_softmax(masked, -1)[one.token_ids[-1]] + 1.2).exp()
        loss = -torch.minimum(ratio * one.advantage, ratio.clamp(0.8, 1.28) * one.advantage) * 0.25
        loss.backward()
    expected = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, atol=1e-5), name


def test_a_part_that_comes_again_is_not_added_again(engine: Engine):
    first = engine.forward_backward("r", StepKey(1), 0, [sample("a")], LOSS)
    before = {name: one.grad.clone() for name, one in engine._policy.trained().items()}
    assert engine.forward_backward("r", StepKey(1), 0, [sample("a")], LOSS) == first
    assert all(torch.equal(one.grad, before[name]) for name, one in engine._policy.trained().items())
    refusal("other_part", lambda: engine.forward_backward("r", StepKey(1), 0, [sample("b")], LOSS))
    refusal("twice_in_step", lambda: engine.forward_backward("r", StepKey(1), 1, [sample("a")], LOSS))


def test_a_step_is_taken_once_and_with_one_batch(engine: Engine):
    first = step(engine, 1, [[sample("a")], [sample("b")]])
    after = weights(engine)
    ids = ["a", "b"]
    again = engine.optim_step("r", StepKey(1), {0: "?"}, ids, "batch-a", 1e-2, True)
    assert again["again"] and again["metrics"] == first["metrics"]
    assert same(weights(engine), after)
    refusal("other_batch", lambda: engine.optim_step("r", StepKey(1), {}, ids, "another", 1e-2, True))
    assert refusal("already_trained", lambda: engine.forward_backward("r", StepKey(2), 0, [sample("b")], LOSS)).facts["step"] == 1
    refusal("wrong_step", lambda: engine.forward_backward("r", StepKey(3), 0, [sample("c")], LOSS))
    refusal("wrong_step", lambda: engine.forward_backward("r", StepKey(1), 0, [sample("c")], LOSS))


def test_a_step_is_refused_when_a_part_is_missing_or_was_not_named(engine: Engine):
    answer = engine.forward_backward("r", StepKey(1), 0, [sample("a")], LOSS)
    refused = refusal("parts_missing", lambda: engine.optim_step("r", StepKey(1), {0: answer["hash"], 1: "?"}, ["a"], "b", 1e-2, True))
    assert refused.facts["parts"] == [1] and refused.facts["incarnation"] == engine.incarnation
    refusal("other_parts", lambda: engine.optim_step("r", StepKey(1), {0: answer["hash"]}, ["a", "z"], "b", 1e-2, True))


@pytest.mark.parametrize("lora", [None, LORA])
def test_a_trainer_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path: Path, config: RunConfig, lora: LoraOptions | None):
    config = replace(config, lora=lora)
    calm, killed = Engine(tmp_path / "calm"), Engine(tmp_path / "killed")
    for engine in (calm, killed):
        engine.open_run("r", config)
        step(engine, 1, [[sample("a", advantage=2.0)]], epochs=2)
    step(calm, 2, [[sample("b")], [sample("c", advantage=-1.0)]], epochs=2)
    # dies between the parts of the second epoch
    first = killed.forward_backward("r", StepKey(2), 0, [sample("b")], LOSS)
    other = killed.forward_backward("r", StepKey(2), 1, [sample("c", advantage=-1.0)], LOSS)
    killed.optim_step("r", StepKey(2), {0: first["hash"], 1: other["hash"]}, ["b", "c"], "batch-b", 1e-2, False)
    killed.forward_backward("r", StepKey(2, 1), 0, [sample("b")], LOSS)
    fresh = Engine(tmp_path / "killed")
    assert fresh.incarnation != killed.incarnation
    opened = fresh.open_run("r", config)
    assert opened is not None and opened.step == 1
    refusal("wrong_epoch", lambda: fresh.forward_backward("r", StepKey(2, 1), 1, [sample("c")], LOSS))
    step(fresh, 2, [[sample("b")], [sample("c", advantage=-1.0)]], epochs=2)
    assert same(weights(calm), weights(fresh))
    assert [entry["sample_ids"] for entry in fresh.journal("r")] == [["a"], ["b", "c"]]


def test_a_step_that_begins_anew_undoes_what_its_first_pass_changed(tmp_path: Path, config: RunConfig):
    calm, restless = Engine(tmp_path / "calm"), Engine(tmp_path / "restless")
    for engine in (calm, restless):
        engine.open_run("r", config)
    step(calm, 1, [[sample("b")]], epochs=2)
    first = restless.forward_backward("r", StepKey(1), 0, [sample("a")], LOSS)
    restless.optim_step("r", StepKey(1), {0: first["hash"]}, ["a"], "batch-a", 1e-2, False)
    refusal("wrong_step", lambda: restless.publish("r", 0))  # neither version 0 nor version 1
    step(restless, 1, [[sample("b")]], epochs=2)
    assert same(weights(calm), weights(restless))


def test_a_loss_that_is_not_finite_changes_nothing(engine: Engine):
    before = weights(engine)
    refusal("not_finite", lambda: step(engine, 1, [[sample("a", advantage=math.inf)]]))
    assert same(weights(engine), before) and engine.journal("r") == []
    step(engine, 1, [[sample("a")]])


def test_a_full_disk_loses_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    import errno

    before = weights(engine)

    def full(_directory: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(engine._policy, "save_weights", full)
        assert "free some room" in str(refusal("no_disk", lambda: step(engine, 1, [[sample("a")]])))
    assert same(weights(engine), before)
    assert step(engine, 1, [[sample("a")]])["committed"]


def test_a_disk_that_is_full_when_a_run_begins_leaves_it_unopened(tmp_path: Path, config: RunConfig, monkeypatch: pytest.MonkeyPatch):
    import errno

    from repoforge_trainer import checkpoints

    engine = Engine(tmp_path / "trainer")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "write_directory", full)
        refusal("no_disk", lambda: engine.open_run("r", config))
    refusal("no_run", lambda: engine.forward("r", [sample("a")]))
    engine.open_run("r", config)
    assert step(engine, 1, [[sample("a")]])["committed"]


def test_a_run_keeps_its_configuration(engine: Engine, config: RunConfig):
    refusal("other_config", lambda: engine.open_run("r", replace(config, beta2=0.9)))
    assert engine.open_run("r", config) is None


def test_a_base_that_is_not_there_is_refused_and_an_open_run_stays_open(engine: Engine, config: RunConfig):
    refusal("bad_config", lambda: engine.open_run("x", replace(config, base="/nowhere")))
    refusal("bad_config", lambda: engine.open_run("x", replace(config, dtype="int4")))
    assert engine.forward("r", [sample("a")])


def test_log_probabilities_are_asked_for_a_step_or_not_at_all(engine: Engine):
    assert engine.forward("r", [sample("x")], step=0)
    refusal("wrong_step", lambda: engine.forward("r", [sample("x")], step=1))
    answer = engine.forward_backward("r", StepKey(1), 0, [sample("a")], LOSS)
    engine.optim_step("r", StepKey(1), {0: answer["hash"]}, ["a"], "b", 1e-2, False)
    refusal("wrong_step", lambda: engine.forward("r", [sample("x")], step=0))  # within step 1
    engine.open_run("r", engine._config, anew=True)
    assert engine.forward("r", [sample("x")], step=0)


def test_a_part_that_fails_is_dropped_with_the_others_and_all_are_sent_again(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    first = engine.forward_backward("r", StepKey(1), 0, [sample("a")], LOSS)
    with monkeypatch.context() as patched:
        patched.setattr(engine._policy, "score", lambda *_: (_ for _ in ()).throw(RuntimeError("out of memory")))
        with pytest.raises(RuntimeError, match="out of memory"):
            engine.forward_backward("r", StepKey(1), 1, [sample("b")], LOSS)
    assert refusal("parts_missing", lambda: engine.optim_step("r", StepKey(1), {0: first["hash"]}, ["a"], "b", 1e-2, True)).facts["parts"] == [0]
    assert step(engine, 1, [[sample("a")], [sample("b")]])["committed"]


@pytest.mark.parametrize("back", ["goes back", "cannot go back"])
def test_an_optimizer_that_fails_halfway_does_not_move_anything_twice(tmp_path: Path, config: RunConfig, monkeypatch: pytest.MonkeyPatch, back: str):
    ends = []
    for fails in (False, True):
        engine = Engine(tmp_path / str(fails))
        engine.open_run("r", config)
        step(engine, 1, [[sample("a")]])
        if fails:
            taken = engine._optimizer.step
            restored = engine._go_back

            def fall_over() -> None:
                taken()
                if back == "cannot go back":
                    monkeypatch.setattr(engine, "_go_back", fall_over_again)
                raise torch.OutOfMemoryError("no memory")

            def fall_over_again() -> None:
                engine._drop_gathered()
                monkeypatch.setattr(engine, "_go_back", restored)
                raise torch.OutOfMemoryError("no memory")

            monkeypatch.setattr(engine._optimizer, "step", fall_over)
            with pytest.raises(torch.OutOfMemoryError):
                step(engine, 2, [[sample("b")]])
            monkeypatch.setattr(engine._optimizer, "step", taken)
        step(engine, 2, [[sample("b")]])
        ends.append(weights(engine))
    assert same(*ends)


def test_what_a_killed_publish_left_is_removed(tmp_path: Path, config: RunConfig):
    engine = Engine(tmp_path)
    engine.open_run("r", config)
    version = Path(engine.publish("r", 0).path)
    left = version.parent / ".v5.123.tmp"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    Engine(tmp_path).open_run("r", config)
    assert [entry.name for entry in version.parent.iterdir()] == ["v0"]


def test_metrics_of_the_sampler_are_those_before_the_step_changed_anything(engine: Engine):
    one = sample("a")
    exact = replace(one, targets=tuple(Target(target.position, logprob) for target, logprob in zip(one.targets, engine.forward("r", [one])[0])))
    assert step(engine, 1, [[exact]], rate=5e-2, epochs=3)["metrics"]["mismatch_max"] < 1e-4


def test_an_adapter_is_published_as_peft_reads_it(tmp_path: Path, base: Path, config: RunConfig):
    engine = Engine(tmp_path / "trainer")
    engine.open_run("r", replace(config, lora=LORA))
    one = sample("x")
    zero = engine.publish("r", 0)
    before = engine.forward("r", [one])
    step(engine, 1, [[sample("a")]], rate=5e-2)
    version = engine.publish("r", 1)
    assert engine.publish("r", 1) == version and version.sha256 != zero.sha256
    assert engine.versions("r") == [0, 1] and engine.versions("unknown") == []
    model = AutoModelForCausalLM.from_pretrained(base)
    assert before[0] == pytest.approx(truth(model, one), abs=1e-5)  # an adapter begins without effect
    served = PeftModel.from_pretrained(model, version.path)
    assert engine.forward("r", [one])[0] == pytest.approx(truth(served, one), abs=1e-5)
    assert engine.forward("r", [one])[0] != pytest.approx(before[0], abs=1e-3)
    engine.remove_version("r", 0)
    assert engine.versions("r") == [1]
    assert not Path(zero.path).exists()
    refusal("wrong_step", lambda: engine.publish("r", 0))


def test_full_parameters_are_published_with_their_head(engine: Engine):
    step(engine, 1, [[sample("a")]])
    version = engine.publish("r", 1)
    state = load_file(Path(version.path) / "model.safetensors")
    assert torch.equal(state["lm_head.weight"], state["model.embed_tokens.weight"])
    served = AutoModelForCausalLM.from_pretrained(version.path)
    one = sample("x")
    assert engine.forward("r", [one])[0] == pytest.approx(truth(served, one), abs=1e-5)


@pytest.mark.parametrize("lora", [None, LORA])
def test_a_policy_learns_what_is_rewarded(tmp_path: Path, config: RunConfig, lora: LoraOptions | None):
    engine = Engine(tmp_path / "trainer")
    engine.open_run("r", replace(config, lora=lora))
    prompt = sample("p").token_ids
    letters = (11, 22, 33, 44)

    def of(token: int, name: str, logprob: float = 0.0, advantage: float = 0.0) -> Sample:
        return Sample(name, (*prompt, token), (Target(len(prompt), logprob, letters),), advantage, 1 / 16)

    def chances() -> list[float]:
        return [math.exp(found[0]) for found in engine.forward("r", [of(token, str(token)) for token in letters])]

    generator = torch.Generator().manual_seed(1)
    first = chances()
    wanted = sorted(range(4), key=lambda index: first[index])[-2]  # likely enough to be drawn, not the likeliest
    for number in range(1, 41):
        now = chances()
        drawn = [letters[int(index)] for index in torch.multinomial(torch.tensor(now), 16, replacement=True, generator=generator)]
        rewards = torch.tensor([float(token == letters[wanted]) for token in drawn])
        if rewards.std() == 0:
            assert now[wanted] > 0.8
            break
        advantages = ((rewards - rewards.mean()) / rewards.std()).tolist()
        batch = [of(token, f"{number}-{index}", math.log(now[letters.index(token)]), advantages[index]) for index, token in enumerate(drawn)]
        metrics = step(engine, number, [batch], rate=1e-3 if lora is None else 5e-3)["metrics"]
        assert metrics["mismatch_max"] < 1e-4
    assert first[wanted] < 0.5 < 0.8 < chances()[wanted]


def test_cross_entropy_learns_a_sequence(engine: Engine):
    one = sample("x", length=20, targets=10)
    before = sum(engine.forward("r", [one])[0])
    for number in range(1, 16):
        step(engine, number, [[replace(one, sample_id=f"x{number}", weight=0.1)]], rate=3e-3, loss=LossOptions(name="cross_entropy"))
    assert sum(engine.forward("r", [one])[0]) > before / 4


def test_a_kl_term_holds_the_policy_near_its_reference(tmp_path: Path, config: RunConfig):
    one = sample("x", length=20, targets=10, weight=0.1)
    moved = {}
    for coefficient in (0.0, 5.0):
        engine = Engine(tmp_path / str(coefficient))
        engine.open_run("r", replace(config, lora=LORA))
        before = engine.forward("r", [one])[0]
        for number in range(1, 9):
            step(engine, number, [[replace(one, sample_id=str(number), targets=tuple(Target(t.position, lp) for t, lp in zip(one.targets, engine.forward("r", [one])[0])))]],
                 loss=LossOptions(kl_coefficient=coefficient))
        moved[coefficient] = max(abs(a - b) for a, b in zip(before, engine.forward("r", [one])[0]))
    assert moved[5.0] < moved[0.0] / 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("lora", [None, LORA])
def test_bfloat16_on_a_gpu_agrees_with_float32_on_the_cpu(tmp_path: Path, config: RunConfig, lora: LoraOptions | None):
    samples = [sample("a"), sample("bb", length=200, targets=60)]
    exact = Engine(tmp_path / "cpu")
    exact.open_run("r", replace(config, lora=lora))
    expected = exact.forward("r", samples)
    for dtype, tolerance in (("float32", 2e-3), ("bfloat16", 0.5)):
        engine = Engine(tmp_path / dtype, "cuda")
        engine.open_run("r", replace(config, lora=lora, dtype=dtype))
        for found, wanted in zip(engine.forward("r", samples), expected):
            assert found == pytest.approx(wanted, abs=tolerance)
        assert step(engine, 1, [[samples[0]]])["committed"]
