"""One run at a time: gradients are gathered part by part, and a step is taken, kept and journalled as one.

Gathered gradients live in this process alone; whoever sends parts is told its incarnation, and sends them again when it
changed. A step that is committed is never taken again, however often it is asked for.
"""

from __future__ import annotations

import errno
import math
import shutil
import threading
import time
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from .files import read_manifest, write_directory, write_manifest
from .journal import CommittedStep, Journal, Refused
from .losses import LossOptions, token_loss
from .metrics import Sums, merged
from .model import DTYPES, LoraOptions, Policy
from .samples import Sample, micro_batches, part_hash, rows_of


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


KEPT_CHECKPOINTS = 2


class Engine:
    """All methods may be called from any thread; one works at a time."""

    def __init__(self, directory: Path, device: str = "cpu") -> None:
        self.directory = directory
        self.device = torch.device(device)
        self.incarnation = uuid.uuid4().hex
        self.busy: str | None = None
        directory.mkdir(parents=True, exist_ok=True)
        self._journal = Journal(directory / "journal.sqlite")
        self._lock = threading.Lock()
        self._run: str | None = None

    def open_run(self, run: str, config: RunConfig) -> CommittedStep | None:
        """Loads the run's last committed step, or the base; returns that step."""
        with self._working("open_run"):
            if config.dtype not in DTYPES:
                raise Refused("bad_config", f'there is no dtype "{config.dtype}"; dtypes are {", ".join(DTYPES)}')
            self._journal.open_run(run, asdict(config))
            if self._run == run:
                return self._journal.last(run)
            self._run = None
            self._config = config
            self._policy = Policy(Path(config.base), self.device, DTYPES[config.dtype], config.lora, config.gradient_checkpointing)
            self._optimizer = torch.optim.AdamW(
                self._policy.trained().values(), lr=0.0, betas=(config.beta1, config.beta2), weight_decay=config.weight_decay
            )
            self._gathered: Gathered | None = None
            self._start: dict[int, torch.Tensor] = {}
            self._run = run
            self._go_back()
            self._remove_old_checkpoints()
            return self._journal.last(run)

    def forward_backward(self, run: str, key: StepKey, part: int, samples: list[Sample], loss: LossOptions) -> dict[str, Any]:
        """Adds the gradient of a part's loss. A part that is there already is not added again."""
        with self._working("forward_backward"):
            self._require(run)
            self._refuse_committed(key.step)
            digest = part_hash(samples)
            for sample in samples:
                sample.check(self._policy.vocabulary)
            loss.check()
            gathered = self._gather(key)
            known = gathered.parts.get(part)
            if known is not None and known[0] != digest:
                raise Refused("other_part", f"part {part} of step {key.step} was gathered with other samples", part=part)
            if known is None:
                self._journal.refuse_trained(run, [sample.sample_id for sample in samples])
                twice = {sample.sample_id for sample in samples} & set(gathered.samples)
                if twice:
                    raise Refused("twice_in_step", f"sample {min(twice)} is in another part of step {key.step} already", sample=min(twice))
                known = (digest, self._add_gradients(key, part, samples, loss))
                gathered.parts[part] = known
                gathered.samples += [sample.sample_id for sample in samples]
            return {"incarnation": self.incarnation, "hash": digest, "metrics": known[1]}

    def optim_step(
        self, run: str, key: StepKey, parts: dict[int, str], samples: list[str], batch_hash: str, learning_rate: float, final: bool
    ) -> dict[str, Any]:
        """Takes the step from the named parts. The last epoch's is committed: parameters, optimizer and journal as one."""
        with self._working("optim_step"):
            self._require(run)
            committed = self._journal.step(run, key.step)
            if committed is not None:
                if committed.batch_hash != batch_hash:
                    raise Refused("other_batch", f"step {key.step} was committed with another batch", batch_hash=committed.batch_hash)
                return {"incarnation": self.incarnation, "committed": True, "again": True, "metrics": committed.metrics}
            self._refuse_committed(key.step)
            gathered = self._gathered
            here = {} if gathered is None or gathered.key != key else {part: digest for part, (digest, _) in gathered.parts.items()}
            missing = sorted(part for part, digest in parts.items() if here.get(part) != digest)
            if missing or gathered is None:
                raise Refused("parts_missing", f"parts {missing} of step {key.step} are not here; send them again", parts=missing, incarnation=self.incarnation)
            if set(here) != set(parts) or sorted(gathered.samples) != sorted(samples):
                raise Refused("other_parts", f"step {key.step} was gathered from other parts or samples than the named ones")
            metrics = self._take_step(gathered, learning_rate)
            self._gathered = None
            if not final:
                self._epochs_done = key
                return {"incarnation": self.incarnation, "committed": False, "again": False, "metrics": metrics}
            self._commit(run, key.step, batch_hash, metrics, samples)
            return {"incarnation": self.incarnation, "committed": True, "again": False, "metrics": metrics}

    def forward(self, run: str, samples: list[Sample]) -> list[list[float]]:
        """Log-probabilities of each sample's targets under the present parameters, for parity checks and probes."""
        with self._working("forward"), torch.no_grad():
            self._require(run)
            for sample in samples:
                sample.check(self._policy.vocabulary)
            found: dict[int, float] = {}
            for batch in micro_batches(rows_of(samples, free_only=False), self._config.tokens_at_once):
                entries = [entry for row in batch for entry in row.entries]
                scores = self._policy.score(batch, entries).logprob.tolist()
                found.update(zip((entry.order for entry in entries), scores))
            ordered = iter(found[order] for order in range(len(found)))
            return [[next(ordered) for _ in sample.targets] for sample in samples]

    def publish(self, run: str, step: int) -> Version:
        """Writes what a sampler loads for the present step; a version that is there already is named again."""
        with self._working("publish"):
            self._require(run)
            name = f"{run}-v{step}"
            target = self._place(run) / "versions" / f"v{step}"
            if read_manifest(target) is None:
                present = self._step_now()
                if step != present or self._dirty:
                    raise Refused("wrong_step", f"version {step} cannot be written: the run is at step {present}", step=present)
                target.parent.mkdir(parents=True, exist_ok=True)

                def fill(directory: Path) -> None:
                    self._policy.export(directory)
                    write_manifest(directory, {"name": name, "step": step})

                write_directory(target, fill)
            manifest = read_manifest(target)
            assert manifest is not None
            return Version(name=name, path=str(target.resolve()), sha256=str(manifest["sha256"]), step=step)

    def remove_version(self, run: str, step: int) -> None:
        """Removes a version's files. Only when no server can be asked for it any more."""
        with self._working("remove_version"):
            shutil.rmtree(self._place(run) / "versions" / f"v{step}", ignore_errors=True)

    def journal(self, run: str) -> list[dict[str, Any]]:
        with self._lock:
            return [{**asdict(step), "sample_ids": self._journal.samples(run, step.step)} for step in self._journal.steps(run)]

    def health(self) -> dict[str, Any]:
        """Never waits for work under way."""
        return {"incarnation": self.incarnation, "run": self._run, "busy": self.busy, "device": str(self.device)}

    # ---- within the lock ----------------------------------------------------------------------------------------------

    def _working(self, what: str) -> _Work:
        return _Work(self, what)

    def _require(self, run: str) -> None:
        if self._run != run:
            raise Refused("no_run", f'the run "{run}" is not open here; open it again', open=self._run, incarnation=self.incarnation)

    def _place(self, run: str) -> Path:
        return self.directory / "runs" / run

    def _step_now(self) -> int:
        assert self._run is not None
        last = self._journal.last(self._run)
        return 0 if last is None else last.step

    def _refuse_committed(self, step: int) -> None:
        now = self._step_now()
        if step != now + 1:
            raise Refused("wrong_step", f"the run is at step {now}: the next one is {now + 1}, not {step}", step=now)

    def _gather(self, key: StepKey) -> Gathered:
        """The parts of this step and epoch. What was gathered for another is dropped."""
        if self._gathered is not None and self._gathered.key == key:
            return self._gathered
        done = self._epochs_done
        expected = 0 if done is None or done.step != key.step else done.epoch + 1
        if key.epoch != expected:
            if key.epoch != 0:
                raise Refused("wrong_epoch", f"epoch {key.epoch} of step {key.step} cannot be gathered: epoch {expected} comes next; begin again with epoch 0",
                              epoch=expected, incarnation=self.incarnation)
            self._go_back()  # the step begins anew: what its first passes changed is undone
        self._optimizer.zero_grad(set_to_none=True)
        self._gathered = Gathered(key)
        if key.epoch == 0:
            self._start.clear()
        return self._gathered

    def _add_gradients(self, key: StepKey, part: int, samples: list[Sample], loss: LossOptions) -> dict[str, float]:
        before = {name: one.grad.clone() if one.grad is not None else None for name, one in self._policy.trained().items()} if self._gathered and self._gathered.parts else None
        try:
            return self._sum_gradients(key, part, samples, loss)
        except BaseException:
            for name, one in self._policy.trained().items():  # half a part is no part
                one.grad = None if before is None else before[name]
            raise

    def _sum_gradients(self, key: StepKey, part: int, samples: list[Sample], loss: LossOptions) -> dict[str, float]:
        sums = Sums()
        count = sum(len(sample.targets) for sample in samples)
        start = self._start.get(part)
        first = torch.zeros(count, device=self.device)
        for batch in micro_batches(rows_of(samples), self._config.tokens_at_once):
            entries = [entry for row in batch for entry in row.entries]
            order = torch.tensor([entry.order for entry in entries], device=self.device)
            scored = self._policy.score(batch, entries)
            recorded = torch.tensor([entry.target.logprob for entry in entries], device=self.device)
            advantage = torch.tensor([entry.sample.advantage for entry in entries], device=self.device)
            weight = torch.tensor([entry.sample.weight for entry in entries], device=self.device)
            own_start = scored.logprob.detach() if start is None else start[order]
            first[order] = own_start
            reference = self._policy.reference_logprobs(batch, entries) if loss.kl_coefficient > 0 else None
            result = token_loss(scored, recorded, advantage, loss, own_start, reference)
            total = (result.loss * weight).sum()
            total.backward()
            sums.add(total, scored, recorded, result.clipped, reference)
        if key.epoch == 0:
            self._start[part] = first
        return sums.metrics()

    def _take_step(self, gathered: Gathered, learning_rate: float) -> dict[str, float]:
        parameters = list(self._policy.trained().values())
        metrics = merged([metrics for _, metrics in gathered.parts.values()])
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, self._config.max_gradient_norm))
        if not (math.isfinite(norm) and math.isfinite(metrics["loss"])):
            self._gathered = None
            self._go_back()
            raise Refused("not_finite", f"step {gathered.key.step}: loss {metrics['loss']}, gradient norm {norm}; nothing was changed", **metrics)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._dirty = True
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return {**metrics, "gradient_norm": norm, "learning_rate": learning_rate}

    def _commit(self, run: str, step: int, batch_hash: str, metrics: dict[str, float], samples: list[str]) -> None:
        target = self._place(run) / "checkpoints" / str(step)
        target.parent.mkdir(parents=True, exist_ok=True)

        def fill(directory: Path) -> None:
            self._policy.save_weights(directory)
            torch.save(self._optimizer.state_dict(), directory / "optimizer.pt")

        try:
            write_directory(target, fill)
            self._journal.commit(run, step, batch_hash, target.name, metrics, samples)
        except BaseException as error:
            self._go_back()
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise Refused("no_disk", f"step {step} was not kept: {error}; free some room, then send it again") from error
            raise
        self._dirty = False
        self._epochs_done = None
        self._start.clear()
        self._remove_old_checkpoints()

    def _go_back(self) -> None:
        """Parameters and optimizer as the last committed step left them."""
        assert self._run is not None
        last = self._journal.last(self._run)
        self._gathered = None
        self._epochs_done: StepKey | None = None
        self._optimizer.zero_grad(set_to_none=True)
        self._optimizer.state.clear()
        if last is None:
            initial = self._place(self._run) / "checkpoints" / "0"
            if not (initial / "weights.safetensors").exists():
                initial.parent.mkdir(parents=True, exist_ok=True)
                write_directory(initial, self._policy.save_weights)
            self._policy.load_weights(initial)
        else:
            kept = self._place(self._run) / "checkpoints" / last.checkpoint
            self._policy.load_weights(kept)
            self._optimizer.load_state_dict(torch.load(kept / "optimizer.pt", map_location=self.device, weights_only=True))
        self._dirty = False

    def _remove_old_checkpoints(self) -> None:
        assert self._run is not None
        now = self._step_now()
        for directory in (self._place(self._run) / "checkpoints").iterdir():
            old = not directory.name.isdigit() or not now - KEPT_CHECKPOINTS < int(directory.name) <= now
            if old and directory.name != str(now):
                shutil.rmtree(directory, ignore_errors=True)


class _Work:
    """Holds the engine's lock, and says what for."""

    def __init__(self, engine: Engine, what: str) -> None:
        self._engine = engine
        self._what = what

    def __enter__(self) -> None:
        self._engine._lock.acquire()
        self._engine.busy = self._what

    def __exit__(self, *_: object) -> None:
        self._engine.busy = None
        self._engine._lock.release()
