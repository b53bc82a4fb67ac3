"""The training loop: repeatable, and resumable to the same loss curve."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn, optim

from lohovla.progress import progress
from lohovla.train.distill import training_checkpoint
from lohovla.train.distill.text_batches import Mixture, TextBatch, stream
from lohovla.train.learning_rates import LearningRates


@dataclass(frozen=True)
class Schedule:
    """How long, and how fast.

    Attributes:
        steps: optimizer steps in all.
        warmup: steps in which the rate rises.
        decay: share of the steps, at the end, in which it falls to nothing.
        save_every: steps between checkpoints.
        seconds: stop (and save) after so long in this call; None for no limit.
    """

    steps: int
    warmup: int = 50
    decay: float = 0.25
    save_every: int = 200
    seconds: float | None = None

    @property
    def shape(self) -> list[float]:
        """What the rate follows from beside the number of steps."""
        return [self.warmup, self.decay]

    def factor_at(self, step: int, steps: int) -> float:
        """The learning rate's factor at a step of a run of another length."""
        return replace(self, steps=steps).rate(step)

    def rate(self, step: int) -> float:
        """The learning rate's factor at a step."""
        left = (self.steps - step) / max(1.0, self.decay * self.steps)
        return min(1.0, (step + 1) / max(1, self.warmup), left)


def train_stage(
    model: nn.Module,
    optimizer: optim.Optimizer,
    objective: Callable[..., Any],
    tokenizer: Any,
    mixture: Mixture,
    schedule: Schedule,
    folder: Path,
    seed: int = 0,
    resume: bool = True,
    device: str | None = None,
    clip: float = 1.0,
) -> bool:
    """Train until the schedule ends; writes ``log.jsonl`` and ``checkpoint/`` to ``folder``.

    Noise of a step is drawn from (seed, step, process) alone, so an interrupted run goes on as if it had not been. With
    other steps or rates than before it goes on from the learning rate that stands, which it says (`learning_rates`).

    Returns:
        Whether the schedule is complete.
    """
    accelerator = Accelerator(cpu=device == "cpu")
    model, optimizer = accelerator.prepare(model, optimizer)
    bare: nn.Module = accelerator.unwrap_model(model)
    raw: optim.Optimizer = getattr(optimizer, "optimizer", optimizer)
    highest = [group["lr"] for group in raw.param_groups]
    step, notes = 0, {}
    if resume and (folder / "checkpoint").exists():
        step, notes = training_checkpoint.load_training_state(folder / "checkpoint", bare, raw)
    rates = _rates(schedule, highest, step, [group["lr"] for group in raw.param_groups], notes)
    if step and accelerator.is_main_process:
        print(_told(schedule, rates[0], step), file=sys.stderr)
    notes = {"rates": [rate.as_facts() for rate in rates], "shape": schedule.shape}
    began = time.perf_counter()
    seen = 0
    log = (folder / "log.jsonl").open("a", encoding="utf-8")
    bar = progress(quiet=not accelerator.is_main_process, total=schedule.steps, initial=step, unit="step")
    # Each process takes its own batches of the common stream.
    share = accelerator.num_processes
    batches = stream(tokenizer, mixture, step * share)
    model.train()
    while step < schedule.steps:
        batch = [next(batches) for _ in range(share)][accelerator.process_index]
        batch = _to(batch, accelerator.device)
        generator = torch.Generator().manual_seed((seed * 1_000_003 + step) * 64 + accelerator.process_index)
        for group, rate in zip(raw.param_groups, rates, strict=True):
            group["lr"] = rate(step)
        loss, parts = objective(model, batch, generator)
        accelerator.backward(loss)
        norm = float(accelerator.clip_grad_norm_(model.parameters(), clip) or 0.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        seen += batch.tokens.numel()
        bar.update()
        bar.set_postfix({name: f"{value:.3f}" for name, value in parts.items()}, refresh=False)
        late = schedule.seconds is not None and time.perf_counter() - began > schedule.seconds
        if accelerator.is_main_process:
            record = {
                "step": step,
                **{k: round(v, 5) for k, v in parts.items()},
                "norm": round(norm, 4),
                "tokens_per_s": round(seen / (time.perf_counter() - began)),
            }
            log.write(json.dumps(record) + "\n")
            log.flush()
            if step % schedule.save_every == 0 or step == schedule.steps or late:
                log.flush()
                training_checkpoint.save_training_state(folder / "checkpoint", step, bare, raw, notes)
        if late:
            break
    bar.close()
    log.close()
    return step >= schedule.steps


def _rates(
    schedule: Schedule, highest: list[float], done: int, now: list[float], notes: Mapping[str, Any]
) -> list[LearningRates]:
    """The rates of each group of weights, from step ``done`` on.

    Args:
        schedule: that is asked for.
        highest: rate of each group that is asked for.
        done: steps.
        now: rate of each group at the last of them.
        notes: of the checkpoint: the rates that it was made with; one of an older version does not tell them.
    """
    before = notes.get("rates") if notes.get("shape") == schedule.shape else None
    rates = []
    for number, (most, last) in enumerate(zip(highest, now, strict=True)):
        asked = LearningRates(schedule.steps, most, schedule.factor_at)
        if before is not None:
            asked = LearningRates.from_facts(before[number], most, schedule.factor_at).changed(
                done, schedule.steps, most
            )
        elif done and not math.isclose(asked(done - 1), last, rel_tol=1e-9):
            asked = LearningRates(schedule.steps, most, schedule.factor_at, (done, last))
        rates.append(asked)
    return rates


def _told(schedule: Schedule, rates: LearningRates, done: int) -> str:
    """What a run that is taken up does from here on."""
    if done >= schedule.steps:
        return f"{done} steps are done and {schedule.steps} are asked for, so none is trained; steps={done + 1} goes on"
    return f"{done} of {schedule.steps} steps are done; {rates.description(done)}"


def _to(batch: TextBatch, device: torch.device) -> TextBatch:
    return replace(batch, **{name: getattr(batch, name).to(device) for name in batch.__dataclass_fields__})
