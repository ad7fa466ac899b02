"""One run at a time: gradients are gathered part by part, and a step is taken, kept and journalled as one.

Gathered gradients live in this process alone; whoever sends parts is told its incarnation, and sends them again when it
changed. A step that is committed is never taken again, however often it is asked for.
"""

from __future__ import annotations

import gc
import math
import shutil
import threading
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from .checkpoints import Checkpoints
from .files import disk_is_full, read_manifest, remove_unfinished, write_directory, write_manifest
from .gradients import sum_gradients
from .journal import CommittedStep, Journal, Refused
from .losses import BadLoss, LossOptions
from .metrics import merged
from .model import DTYPES, Policy
from .run import Gathered, RunConfig, StepKey, Version
from .samples import BadSample, Sample, micro_batches, part_hash, rows_of


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

    def open_run(self, run: str, config: RunConfig, anew: bool = False) -> CommittedStep | None:
        """Loads the run's last committed step, or the base; returns that step. A run that is open stays as it is, or with
        `anew` goes back to that step: what was gathered since is dropped."""
        with self._working("open_run"):
            if config.dtype not in DTYPES:
                raise Refused("bad_config", f'there is no dtype "{config.dtype}"; dtypes are {", ".join(DTYPES)}')
            if not (Path(config.base) / "config.json").is_file():
                raise Refused("bad_config", f"there is no model in {config.base} as this trainer sees it")
            self._journal.open_run(run, asdict(config))
            if self._run == run:
                if anew:
                    self._go_back()
                return self._journal.last(run)
            self._close_run()
            self._config = config
            self._policy = Policy(Path(config.base), self.device, DTYPES[config.dtype], config.lora, config.gradient_checkpointing)
            self._optimizer = torch.optim.AdamW(
                self._policy.trained().values(), lr=0.0, betas=(config.beta1, config.beta2), weight_decay=config.weight_decay
            )
            self._gathered: Gathered | None = None
            self._start: dict[int, torch.Tensor] = {}
            self._first_pass: dict[str, float] = {}
            self._run = run
            try:
                self._go_back()
            except BaseException:
                self._close_run()  # half open is not open
                raise
            self._checkpoints(run).remove_old(self._step_now())
            remove_unfinished(self._place(run) / "versions")
            return self._journal.last(run)

    def forward_backward(self, run: str, key: StepKey, part: int, samples: list[Sample], loss: LossOptions) -> dict[str, Any]:
        """Adds the gradient of a part's loss. A part that is there already is not added again."""
        with self._working("forward_backward"):
            self._require(run)
            self._refuse_committed(key.step)
            digest = part_hash(samples, loss)
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
            if not final:
                self._epochs_done = key
                return {"incarnation": self.incarnation, "committed": False, "again": False, "metrics": metrics}
            self._commit(run, key.step, batch_hash, metrics, samples)
            return {"incarnation": self.incarnation, "committed": True, "again": False, "metrics": metrics}

    def forward(self, run: str, samples: list[Sample], step: int | None = None) -> list[list[float]]:
        """Log-probabilities of each sample's targets under the present parameters, for parity checks and probes; with `step`
        only when they are those of that committed step."""
        with self._working("forward"), torch.no_grad():
            self._require(run)
            if step is not None:
                self._require_step(step)
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
                self._require_step(step)
                target.parent.mkdir(parents=True, exist_ok=True)

                def fill(directory: Path) -> None:
                    self._policy.export(directory)
                    write_manifest(directory, {"name": name, "step": step})

                write_directory(target, fill)
            manifest = read_manifest(target)
            assert manifest is not None
            return Version(name=name, path=str(target.resolve()), sha256=str(manifest["sha256"]), step=step)

    def versions(self, run: str) -> list[int]:
        """Steps of which a version's files are there, the oldest first."""
        directory = self._place(run) / "versions"
        found = [entry.name[1:] for entry in directory.iterdir()] if directory.is_dir() else []
        return sorted(int(name) for name in found if name.isdecimal())

    def remove_version(self, run: str, step: int) -> None:
        """Removes a version's files. Only when no server can be asked for it any more."""
        with self._working("remove_version"):
            shutil.rmtree(self._place(run) / "versions" / f"v{step}", ignore_errors=True)

    def render(self, run: str, conversations: list[list[dict[str, str]]], open_answer: bool = True) -> list[list[int]]:
        """Token ids of conversations, by the chat template of the run's model, with the opening of an answer where wanted."""
        with self._working("render"):
            self._require(run)
            return self._policy.render(conversations, open_answer)

    def journal(self, run: str) -> list[dict[str, Any]]:
        with self._lock:
            return [{**asdict(step), "sample_ids": self._journal.samples(run, step.step)} for step in self._journal.steps(run)]

    def health(self) -> dict[str, Any]:
        """Never waits for work under way."""
        return {"incarnation": self.incarnation, "run": self._run, "busy": self.busy, "device": str(self.device)}

    def _close_run(self) -> None:
        """Lets go of a run's memory before another one's is taken."""
        if self._run is not None:
            self._run = None
            del self._policy, self._optimizer, self._gathered, self._start
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    # ---- within the lock ----------------------------------------------------------------------------------------------

    def _working(self, what: str) -> _Work:
        return _Work(self, what)

    def _require(self, run: str) -> None:
        if self._run != run:
            raise Refused("no_run", f'the run "{run}" is not open here; open it again', open=self._run, incarnation=self.incarnation)

    def _require_step(self, step: int) -> None:
        present = self._step_now()
        if step != present or self._dirty:
            within = " and within the next" if self._dirty else ""
            raise Refused("wrong_step", f"the parameters are not those of step {step}: the run is at step {present}{within}", step=present)

    def _place(self, run: str) -> Path:
        return self.directory / "runs" / run

    def _checkpoints(self, run: str) -> Checkpoints:
        return Checkpoints(self._place(run) / "checkpoints")

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
        if key.epoch != expected or (key.epoch == 0 and self._dirty):
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
        try:
            metrics, first = sum_gradients(self._policy, samples, loss, self._start.get(part), self._config.tokens_at_once)
        except BaseException:
            self._drop_gathered()  # half a part is no part, and cannot be told from the others: they are sent again
            raise
        if key.epoch == 0:
            self._start[part] = first
        if not math.isfinite(metrics["loss"]):
            self._go_back()
            raise Refused("not_finite", f"step {key.step}, part {part}: the loss is {metrics['loss']}; the step was not taken", **metrics)
        return metrics

    def _drop_gathered(self) -> None:
        self._gathered = None
        self._optimizer.zero_grad(set_to_none=True)

    def _take_step(self, gathered: Gathered, learning_rate: float) -> dict[str, float]:
        parameters = list(self._policy.trained().values())
        metrics = merged([metrics for _, metrics in gathered.parts.values()])
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, self._config.max_gradient_norm))
        if not (math.isfinite(norm) and math.isfinite(metrics["loss"])):
            self._go_back()
            raise Refused("not_finite", f"step {gathered.key.step}: loss {metrics['loss']}, gradient norm {norm}; the step was not taken", **metrics)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._dirty = True
        try:
            self._optimizer.step()
        except BaseException:
            self._go_back()  # some parameters may have moved: taken again, the step would move them twice
            raise
        self._drop_gathered()
        if gathered.key.epoch == 0:
            self._first_pass = {name: metrics[name] for name in ("mismatch_kl", "mismatch_max")}
        # what the first pass says of the sampler is not overlaid by the step's own updates
        metrics = {**metrics, **self._first_pass}
        return {**metrics, "gradient_norm": norm, "learning_rate": learning_rate}

    def _commit(self, run: str, step: int, batch_hash: str, metrics: dict[str, float], samples: list[str]) -> None:
        try:
            name = self._checkpoints(run).save(step, self._policy, self._optimizer)
            self._journal.commit(run, step, batch_hash, name, metrics, samples)
        except BaseException:
            self._go_back()
            raise
        self._dirty = False
        self._epochs_done = None
        self._start.clear()
        self._checkpoints(run).remove_old(step)

    def _go_back(self) -> None:
        """Parameters and optimizer as the last committed step left them."""
        assert self._run is not None
        last = self._journal.last(self._run)
        self._drop_gathered()
        self._epochs_done: StepKey | None = None
        self._optimizer.state.clear()
        checkpoints = self._checkpoints(self._run)
        if last is None:
            checkpoints.load_initial(self._policy)
        else:
            checkpoints.load(last.checkpoint, self._policy, self._optimizer)
        self._dirty = False


class _Work:
    """Holds the engine's lock, and says what for."""

    def __init__(self, engine: Engine, what: str) -> None:
        self._engine = engine
        self._what = what

    def __enter__(self) -> None:
        self._engine._lock.acquire()
        self._engine.busy = self._what

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._engine.busy = None
        self._engine._lock.release()
        if error is not None and not isinstance(error, (Refused, BadSample, BadLoss)) and disk_is_full(error, self._engine.directory):
            raise Refused("no_disk", f"{self._what} was not done, nothing was changed: {error}; free some room, then send it again") from error
