"""What the loop asks of the model, what comes back, and the model's side of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lohovla.policies.base import Context, Decision
from lohovla.policies.realtime_policy import Denoiser, RealtimePolicy, SubtaskPlan


@dataclass(frozen=True)
class InferenceRequest:
    """A question to the model.

    Attributes:
        number: counts up.
        kind: ``reset``, ``plan`` or ``chunk``.
        epoch: of the loop when it asked; an answer to another epoch is thrown away.
        taken: s, when the observation was taken.
        seed: of the episode (``reset``), or of the chunk's noise (``rtc``).
        observation: what the model sees.
        context: what it knows beside.
        plan: the sub-task (``chunk``).
        prefix: what remains of the chunk before, in the model's own frame (``chunk``).
        inference_delay: how many actions of it will have been carried out.
        rtc_guided: whether the loop's own guidance is to be used (``rtc``).
        max_guidance_weight: its largest weight.
    """

    number: int
    kind: str
    epoch: int
    taken: float
    seed: int = 0
    observation: Mapping[str, Any] | None = None
    context: Context = field(default_factory=Context)
    plan: SubtaskPlan | None = None
    prefix: np.ndarray | None = None
    inference_delay: int = 0
    rtc_guided: bool = False
    max_guidance_weight: float = 5.0


@dataclass(frozen=True)
class InferenceReply:
    """The model's answer.

    Attributes:
        number: of the job.
        result: a :class:`SubtaskPlan`, a :class:`Decision`, or None.
        error: what went wrong, or "".
        seconds: how long the model worked.
    """

    number: int
    result: SubtaskPlan | Decision | None = None
    error: str = ""
    seconds: float = 0.0


def run_inference(policy: RealtimePolicy, job: InferenceRequest) -> InferenceReply:
    """Do a job; a policy that raises gives a reply that says so."""
    began = time.perf_counter()
    try:
        result = _answer(policy, job)
    except Exception as error:  # whatever a model may raise must not end the loop
        return InferenceReply(job.number, None, f"{type(error).__name__}: {error}", time.perf_counter() - began)
    return InferenceReply(job.number, result, "", time.perf_counter() - began)


def _answer(policy: RealtimePolicy, job: InferenceRequest) -> SubtaskPlan | Decision | None:
    if job.kind == "reset":
        policy.reset(job.seed)
        return None
    assert job.observation is not None
    if job.kind == "plan":
        return policy.plan(job.observation, job.context)
    plan = job.plan or SubtaskPlan()
    if job.rtc_guided:
        from lohovla.control.chunks.real_time_chunking import guided_chunk

        assert isinstance(policy, Denoiser)
        return guided_chunk(
            policy,
            job.observation,
            job.context,
            plan,
            job.prefix,
            job.inference_delay,
            job.seed,
            job.max_guidance_weight,
        )
    return policy.chunk(job.observation, job.context, plan, job.prefix, job.inference_delay)
