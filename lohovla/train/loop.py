"""The training loop: one stage from wherever it was stopped to its end, on one process or many."""

from __future__ import annotations

import copy
import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor

from lohovla.errors import UserError
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.processor import Processor
from lohovla.model.robot_processor import RobotProcessor
from lohovla.progress import progress
from lohovla.train.imitation.demonstration_batch import ImitationSettings
from lohovla.train.metrics_logger import MetricsLogger
from lohovla.train.muon import make_optimizer
from lohovla.train.resume import Batches, TrainingInputs, resumed
from lohovla.train.sharding import full_tensor, shard_parameters
from lohovla.train.tracking import Tracking
from lohovla.train.training_stages import Stage, StageLosses
from lohovla.train.training_state import TrainingState, stage_folder

_EMA = 0.998


class Trainer:
    """Trains one stage.

    Args:
        accelerator: devices, processes and precision.
        model: the core; its weights are moved.
        processor: its processor.
        stage: what to learn.
        source: from what.
        folder: of checkpoints and logs.
        save_seconds: how often the state is written, so that a kill loses no more.
        log_every: steps between lines of the log.
        norms_every: steps between measurements of each loss's gradient norm; 0 never measures.
        validate: called with the averaged model now and then; returns figures to log, and paths of images.
        validate_every: steps between calls; 0 only at the end.
        tracking: a tracker beside TensorBoard, if there is one.
        origin: what the weights that the stage does not move came from, for those who go on with it.
        fsdp: share weights out over processes: a sharded copy of ``model`` is trained, and ``model``, which may stay
            in the host's memory, gets what came of it.
        imitation: how demonstrations are learned from, for the stage of that name.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: LoHoVLA,
        processor: Processor | RobotProcessor,
        stage: Stage,
        source: Batches,
        folder: Path,
        save_seconds: float = 30.0,
        log_every: int = 20,
        norms_every: int = 500,
        validate: Callable[[LoHoVLA], Mapping[str, float | Path]] | None = None,
        validate_every: int = 0,
        tracking: Tracking | None = None,
        origin: Mapping[str, Any] | None = None,
        fsdp: bool = False,
        imitation: ImitationSettings | None = None,
    ):
        self.accelerator, self.stage, self.source = accelerator, stage, source
        self.model = copy.deepcopy(model) if fsdp else model
        self._folder, self._save_seconds, self._log_every = folder, save_seconds, log_every
        self._norms_every, self._validate, self._validate_every = norms_every, validate, validate_every
        self._tracking = tracking
        world, precision = accelerator.num_processes, accelerator.mixed_precision
        self._made = TrainingInputs.from_stage(stage, source, world, precision, origin or {})
        losses = StageLosses(self.model, processor, stage, imitation)
        if fsdp:
            shard_parameters(losses, cast(torch.nn.ModuleList, self.model.decoder.layers), accelerator)
            self._norms_every = 0  # what a loss's gradient is by itself is not to be had from parts
        elif stage.name == "detector":
            model.stem.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = accelerator.prepare(make_optimizer(self.model, stage.lr, stage.muon_lr))
        self.losses = losses if fsdp else accelerator.prepare(losses)
        self.state = TrainingState(stage_folder(folder, stage.name), self.model, stage, self.optimizer, model)

    def run(self) -> None:
        """Train to the stage's end; the averaged weights are in the model then."""
        start = self.state.restore()
        self._rates, lines = resumed(self.stage, self.state.found, self._made)
        self.state.kept = {**self._rates.as_facts(), **self._made.as_facts()}
        for line in lines if self.accelerator.is_main_process else ():
            print(line, file=sys.stderr)
        if start < self.stage.steps:
            self._train(start)
        self.state.average.apply()

    def _train(self, start: int) -> None:
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        batches = self.source.batches(self.stage, start * self.stage.accumulate, rank, world)
        saved = time.monotonic()
        with self._journal(start) as journal, self._bar(start) as bar:
            for step in range(start, self.stage.steps):
                began = time.perf_counter()
                several = [next(batches) for _ in range(self.stage.accumulate)]
                waited = time.perf_counter() - began
                # Noise follows from the step alone, so that a resumed run draws what it would have drawn.
                torch.manual_seed(_seed(self.source.seed, step, rank))
                values = self._step(several, step)
                values["data_wait"] = waited / (time.perf_counter() - began)
                self.state.average.update(_EMA)
                bar.update()
                if journal is not None:
                    line = journal.note(step + 1, values)
                    if line:
                        bar.set_postfix_str(line)
                over = step + 1 == self.stage.steps
                if over or self._agreed(time.monotonic() - saved > self._save_seconds):
                    self.state.save(step + 1, journal.sums if journal else None, write=journal is not None)
                    saved = time.monotonic()
                if over or _due(step + 1, self._validate_every):
                    self._report(journal, step + 1)

    def _agreed(self, answer: bool) -> bool:
        """What the main process says, so that all do the same."""
        if self.accelerator.num_processes == 1:
            return answer
        told = broadcast(torch.tensor([int(answer)], device=self.accelerator.device))
        return bool(told.item())  # type: ignore[union-attr]

    def _journal(self, start: int) -> AbstractContextManager[MetricsLogger | None]:
        """The main process's; whatever ends training, what it was told is written."""
        if not self.accelerator.is_main_process:
            return nullcontext()
        journal = MetricsLogger(self._folder, self.stage.name, start, self._log_every, self.state.sums, self._tracking)
        return closing(journal)

    def _bar(self, start: int) -> Any:
        quiet = not self.accelerator.is_main_process
        return progress(quiet=quiet, total=self.stage.steps, initial=start, desc=self.stage.name, unit="step")

    def _step(self, batches: Sequence[Mapping[str, Any]], step: int) -> dict[str, float]:
        rate = self._rates(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        sums: dict[str, float] = defaultdict(float)
        for number, batch in enumerate(batches):
            with self.accelerator.autocast():
                losses = self.losses(batch, step)
                total = self.accelerator.unwrap_model(self.losses).total(losses) / len(batches)
            for name, loss in losses.items():
                sums[name] += float(loss.detach()) / len(batches)
            sums["loss"] += float(total.detach())
            if number == 0 and self._norms_every and step % self._norms_every == 0:
                sums |= self._norms(losses)
            self.accelerator.backward(total)
        norm = self.accelerator.clip_grad_norm_(self.losses.parameters(), 1.0)
        self.optimizer.step()
        return {**sums, "norm": float(full_tensor(torch.as_tensor(norm))), "rate": rate}

    def _norms(self, losses: Mapping[str, Tensor]) -> dict[str, float]:
        """The gradient norm of each loss on its own, over all weights that the stage moves."""
        moved = [p for p in self.model.parameters() if p.requires_grad]
        norms = {}
        for name, loss in losses.items():
            found = torch.autograd.grad(loss, moved, retain_graph=True, allow_unused=True)
            norms[f"norm/{name}"] = math.sqrt(sum(float(g.float().square().sum()) for g in found if g is not None))
        return norms

    def _report(self, journal: MetricsLogger | None, step: int) -> None:
        if self._validate is None:
            return
        with self.state.average.applied() as model:
            if journal is not None:
                found = {f"validation/{name}": value for name, value in self._validate(model).items()}
                journal.write(step, {name: value for name, value in found.items() if not isinstance(value, Path)})
                for name, value in found.items():
                    if isinstance(value, Path):
                        journal.write_image(step, name, value)


def _seed(seed: int, step: int, rank: int) -> int:
    return (seed * 1_000_003 + step) * 4099 + rank


def _due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0


def make_accelerator(device: str, precision: str) -> Accelerator:
    """Devices, processes and precision.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.
        precision: ``no``, ``bf16`` or ``fp16``.

    Raises:
        UserError: there is no such device.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"device cannot be {device!r}", "choose auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda, but there is no CUDA device", "device=cpu trains here")
    return Accelerator(cpu=device == "cpu", mixed_precision=precision)
