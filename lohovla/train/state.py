"""What is needed to go on after a kill: weights, their running average, the optimiser; in safetensors, no pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lohovla.errors import UserError
from lohovla.model.core import LoHoVLA
from lohovla.train.stages import Stage

_WEIGHTS = "state.safetensors"


class TrainingState:
    """The state of a stage.

    Args:
        folder: where it is kept.
        model: the core.
        stage: what is trained.
        optimizer: AdamW, prepared or not.
    """

    def __init__(self, folder: Path, model: LoHoVLA, stage: Stage, optimizer: Any):
        self._folder, self._model, self._stage, self._optimizer = folder, model, stage, optimizer
        lora = bool(model.config.lora_rank)
        self._moved = {name: p for name, p in model.named_parameters() if stage.trains(name, lora)}
        self._average = {name: p.detach().clone() for name, p in self._moved.items()}
        self._seen = 0
        self.sums: dict[str, list[float]] = {}  # of the journal: what it had not written yet

    def average(self, decay: float) -> None:
        """Let the running average follow the weights; at the start it follows faster."""
        self._seen += 1
        share = 1 - min(decay, self._seen / (10 + self._seen))
        with torch.no_grad():
            for name, p in self._moved.items():
                self._average[name].lerp_(p.detach(), share)

    @contextmanager
    def averaged(self) -> Iterator[LoHoVLA]:
        """The model with the averaged weights, for a while."""
        own = {name: p.detach().clone() for name, p in self._moved.items()}
        training = self._model.training
        self.use_average()
        self._model.eval()
        try:
            yield self._model
        finally:
            self._model.train(training)
            with torch.no_grad():
                for name, p in self._moved.items():
                    p.copy_(own[name])

    def use_average(self) -> None:
        """Put the averaged weights into the model."""
        with torch.no_grad():
            for name, p in self._moved.items():
                p.copy_(self._average[name])

    def save(self, step: int, sums: Mapping[str, list[float]] | None = None) -> None:
        """Write the state after ``step`` steps and the journal's sums; a kill leaves the state before, whole."""
        self._folder.mkdir(parents=True, exist_ok=True)
        tensors: dict[str, Tensor] = {}
        states = self._optimizer.state_dict()["state"]
        for number, (name, p) in enumerate(self._moved.items()):
            tensors[f"weight/{name}"] = p.detach().contiguous()
            tensors[f"average/{name}"] = self._average[name].contiguous()
            for part in ("exp_avg", "exp_avg_sq") if number in states else ():  # none, if no loss asks for it
                tensors[f"{part}/{name}"] = states[number][part].contiguous()
        # Buffers that a stage measures, the painter's scale say, belong to it as well.
        tensors |= {f"buffer/{n}": b.contiguous() for n, b in self._buffers().items()}
        facts = {
            "stage": self._stage.name,
            "steps": self._stage.steps,
            "step": step,
            "seen": self._seen,
            "sums": sums or {},
        }
        part = self._folder / f"{_WEIGHTS}.part"
        save_file(tensors, part, metadata={"facts": json.dumps(facts)})
        os.replace(part, self._folder / _WEIGHTS)

    def _buffers(self) -> dict[str, Tensor]:
        persistent = self._model.state_dict().keys()
        return {n: b for n, b in self._model.named_buffers() if self._stage.trains(n) and n in persistent}

    def restore(self) -> int:
        """Take up a state that was written; returns its step, 0 if there is none.

        Raises:
            UserError: it is damaged, or of another model.
        """
        path = self._folder / _WEIGHTS
        if not path.exists():
            return 0
        try:
            tensors = load_file(path)
            facts = _facts(path)
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise UserError(f"{path} is damaged: {error}", "remove it to train the stage again") from None
        states: dict[int, dict[str, Tensor]] = {}
        buffers = self._buffers()
        try:
            with torch.no_grad():
                for number, (name, p) in enumerate(self._moved.items()):
                    p.copy_(tensors[f"weight/{name}"])
                    self._average[name].copy_(tensors[f"average/{name}"])
                    if f"exp_avg/{name}" in tensors:
                        states[number] = {part: tensors[f"{part}/{name}"] for part in ("exp_avg", "exp_avg_sq")}
                        states[number]["step"] = torch.tensor(float(facts["step"]))
                for name, buffer in buffers.items():
                    buffer.copy_(tensors[f"buffer/{name}"])
        except (KeyError, RuntimeError) as error:
            raise UserError(f"{path} is of another model: {error}", "give another output=FOLDER") from None
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": states, "param_groups": groups})
        self._seen, self.sums = int(facts["seen"]), facts.get("sums", {})
        return int(facts["step"])


def _facts(path: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["facts"])
