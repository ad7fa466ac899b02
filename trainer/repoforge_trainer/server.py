"""The engine over HTTP. Verbs in the manner of Tinker's; every one is safe to repeat.

A refusal is 409 with {"kind", "message", "facts"}: the state of the run does not allow what was asked. 422: the request has
no meaning. 507: the disk is full, nothing was changed.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from .engine import Engine, RunConfig, StepKey
from .journal import Refused
from .losses import BadLoss, LossOptions
from .model import LoraOptions
from .samples import BadSample, Sample, Target

RUN_ID = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class LoraBody(Body):
    rank: int = Field(ge=1, le=512)
    alpha: float = Field(gt=0)
    seed: int = 0
    target_modules: str | list[str] = "all-linear"


class ConfigBody(Body):
    base: str
    lora: LoraBody | None = None
    dtype: str = "float32"
    gradient_checkpointing: bool = False
    weight_decay: float = Field(default=0.0, ge=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, lt=1)
    max_gradient_norm: float = Field(default=1.0, gt=0)
    tokens_at_once: int = Field(default=16_384, ge=1)

    def config(self) -> RunConfig:
        lora = self.lora
        values = self.model_dump(exclude={"lora"})
        if lora is None:
            return RunConfig(**values)
        modules = lora.target_modules if isinstance(lora.target_modules, str) else tuple(lora.target_modules)
        return RunConfig(**values, lora=LoraOptions(lora.rank, lora.alpha, lora.seed, modules))


class OpenBody(Body):
    run: str = RUN_ID
    config: ConfigBody
    anew: bool = False
    """Drops what was gathered of the step under way."""


class SampleBody(Body):
    sample_id: str = Field(min_length=1)
    token_ids: list[int]
    positions: list[int]
    """Places of the sampled tokens in `token_ids`."""
    logprobs: list[float]
    """One for each position."""
    allowed: list[list[int] | None] | None = None
    """What the sampler could choose from, for each position; null where that was the whole vocabulary."""
    advantage: float = 1.0
    weight: float = 1.0
    temperature: float = 1.0

    def sample(self) -> Sample:
        allowed = self.allowed if self.allowed is not None else [None] * len(self.positions)
        if not len(self.positions) == len(self.logprobs) == len(allowed):
            raise BadSample(f"sample {self.sample_id}: {len(self.positions)} positions, {len(self.logprobs)} logprobs, {len(allowed)} sets of allowed tokens")
        targets = tuple(
            Target(position, logprob, None if one is None else tuple(sorted(one)))
            for position, logprob, one in zip(self.positions, self.logprobs, allowed)
        )
        return Sample(self.sample_id, tuple(self.token_ids), targets, self.advantage, self.weight, self.temperature)


class LossBody(Body):
    name: str = "clipped_ratio"
    clip_low: float = 0.2
    clip_high: float = 0.28
    tis_cap: float | None = None
    kl_coefficient: float = 0.0
    entropy_coefficient: float = 0.0


class PartBody(Body):
    run: str = RUN_ID
    step: int = Field(ge=1)
    epoch: int = Field(default=0, ge=0)
    part: int = Field(ge=0)
    samples: list[SampleBody] = Field(min_length=1)
    loss: LossBody = LossBody()


class StepBody(Body):
    run: str = RUN_ID
    step: int = Field(ge=1)
    epoch: int = Field(default=0, ge=0)
    parts: dict[int, str]
    """Hash of each part, as `forward_backward` answered it."""
    sample_ids: list[str]
    batch_hash: str = Field(min_length=1)
    learning_rate: float = Field(ge=0)
    final: bool
    """Whether this is the last pass over the batch: then the step is committed."""


class ForwardBody(Body):
    run: str = RUN_ID
    samples: list[SampleBody] = Field(min_length=1)
    step: int | None = Field(default=None, ge=0)
    """Refuse unless the parameters are those of this step."""


class MessageBody(Body):
    role: str
    content: str


class RenderBody(Body):
    run: str = RUN_ID
    conversations: list[list[MessageBody]]
    open_answer: bool = True
    """With what an answer begins with, as for a server that is to answer."""


class VersionBody(Body):
    run: str = RUN_ID
    step: int = Field(ge=0)


def create_app(engine: Engine) -> FastAPI:
    app = FastAPI(title="RepoForge trainer", docs_url=None, redoc_url=None)

    @app.exception_handler(Refused)
    async def refused(_request: Request, error: Refused) -> JSONResponse:
        facts = {name: str(value) if isinstance(value, float) and not math.isfinite(value) else value for name, value in error.facts.items()}
        content = {"kind": error.kind, "message": str(error), "facts": facts}
        return JSONResponse(content, status_code=507 if error.kind == "no_disk" else 409)

    @app.exception_handler(BadSample)
    @app.exception_handler(BadLoss)
    async def meaningless(_request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"kind": "bad_request", "message": str(error), "facts": {}}, status_code=422)

    # handlers are plain functions: each request works in a thread of its own, and the engine lets one through at a time
    @app.get("/health")
    def health() -> dict[str, Any]:
        return engine.health()

    @app.post("/open_run")
    def open_run(body: OpenBody) -> dict[str, Any]:
        last = engine.open_run(body.run, body.config.config(), body.anew)
        step = 0 if last is None else last.step
        return {"incarnation": engine.incarnation, "step": step, "last": None if last is None else asdict(last), "versions": engine.versions(body.run)}

    @app.post("/forward_backward")
    def forward_backward(body: PartBody) -> dict[str, Any]:
        samples = [one.sample() for one in body.samples]
        return engine.forward_backward(body.run, StepKey(body.step, body.epoch), body.part, samples, LossOptions(**body.loss.model_dump()))

    @app.post("/optim_step")
    def optim_step(body: StepBody) -> dict[str, Any]:
        key = StepKey(body.step, body.epoch)
        return engine.optim_step(body.run, key, body.parts, body.sample_ids, body.batch_hash, body.learning_rate, body.final)

    @app.post("/forward")
    def forward(body: ForwardBody) -> dict[str, Any]:
        return {"logprobs": engine.forward(body.run, [one.sample() for one in body.samples], body.step)}

    @app.post("/render")
    def render(body: RenderBody) -> dict[str, Any]:
        conversations = [[message.model_dump() for message in one] for one in body.conversations]
        return {"token_ids": engine.render(body.run, conversations, body.open_answer)}

    @app.post("/publish")
    def publish(body: VersionBody) -> dict[str, Any]:
        return asdict(engine.publish(body.run, body.step))

    @app.post("/remove_version")
    def remove_version(body: VersionBody) -> dict[str, Any]:
        engine.remove_version(body.run, body.step)
        return {}

    @app.get("/journal/{run}")
    def journal(run: str) -> dict[str, Any]:
        return {"steps": engine.journal(run)}

    return app
