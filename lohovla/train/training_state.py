"""What is needed to go on after a kill: weights, their running average, the optimiser; in safetensors, no pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lohovla.errors import UserError
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.settings.renamed_settings import old_stage
from lohovla.train.ema_weights import EmaWeights
from lohovla.train.sharding import full_tensor, put, share
from lohovla.train.training_stages import Stage

_WEIGHTS = "state.safetensors"
# Of an optimiser's state of a weight; Muon keeps the first alone. Every process gathers them in this order: a set's
# order differs between processes, and shares of one part would be joined to shares of the other.
_PARTS = ("exp_avg", "exp_avg_sq")
_DAMAGED = (SafetensorError, OSError, ValueError, KeyError, TypeError)


class TrainingState:
    """The state of a stage.

    Where weights are sharded, all processes have to call :meth:`save` and the methods of ``average``.

    Args:
        folder: where it is kept.
        model: the core that is trained; its weights may be sharded.
        stage: what is trained.
        optimizer: AdamW or Muon, prepared or not.
        shown: the core that gets the averaged weights, which are whole there; the same as ``model`` if not given.

    Attributes:
        average: the running average of the weights (EMA).
    """

    def __init__(self, folder: Path, model: LoHoVLA, stage: Stage, optimizer: Any, shown: LoHoVLA | None = None):
        self._folder, self._model, self._stage, self._optimizer = folder, model, stage, optimizer
        lora = bool(model.config.lora_rank)
        self._moved = {name: p for name, p in model.named_parameters() if stage.trains(name, lora)}
        self.average = EmaWeights(self._moved, self._buffers, model, model if shown is None else shown)
        every = [p for group in optimizer.param_groups for p in group["params"]]
        numbers = {id(p): number for number, p in enumerate(every)}
        self._numbers = {name: numbers[id(p)] for name, p in self._moved.items()}  # as its state is numbered
        self.found: dict[str, Any] = {}  # facts of the state that was restored
        self.kept: dict[str, Any] = {}  # facts that are saved beside the state's own
        self.sums: dict[str, list[float]] = {}  # of the journal: what it had not written yet

    def save(self, step: int, sums: Mapping[str, list[float]] | None = None, write: bool = True) -> None:
        """Write the state after ``step`` steps and the journal's sums; a kill leaves the state before, whole.

        Args:
            step: how many are done.
            sums: of the journal.
            write: whether this process is the one that writes.
        """
        tensors: dict[str, Tensor] = {}
        states = self._optimizer.state_dict()["state"]
        for name, p in self._moved.items():
            tensors[f"weight/{name}"] = full_tensor(p).contiguous()
            tensors[f"average/{name}"] = full_tensor(self.average.weights[name]).contiguous()
            own = states.get(self._numbers[name], {})  # empty, if no loss asks for the weight
            for part in _PARTS:
                if part in own:
                    tensors[f"{part}/{name}"] = full_tensor(own[part]).contiguous()
        if not write:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        # Buffers that a stage measures, the painter's scale say, belong to it as well.
        tensors |= {f"buffer/{n}": b.contiguous() for n, b in self._buffers().items()}
        facts = {
            "stage": self._stage.name,
            "steps": self._stage.steps,
            "step": step,
            "seen": self.average.updates,
            "sums": sums or {},
            **self.kept,
        }
        part = self._folder / f"{_WEIGHTS}.part"
        try:
            save_file(tensors, part, metadata={"facts": json.dumps(facts)})
        except (OSError, SafetensorError):
            part.unlink(missing_ok=True)  # the disk may be full
            raise
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
        except _DAMAGED as error:
            raise _damage(path, error) from None
        states: dict[int, dict[str, Tensor]] = {}
        buffers = self._buffers()
        try:
            for name, p in self._moved.items():
                put(tensors[f"weight/{name}"], p)
                put(tensors[f"average/{name}"], self.average.weights[name])
                parts = {part: tensors[f"{part}/{name}"] for part in _PARTS if f"{part}/{name}" in tensors}
                if parts:
                    own = {part: share(value, p) for part, value in parts.items()}
                    states[self._numbers[name]] = {**own, "step": torch.tensor(float(facts["step"]))}
            for name, buffer in buffers.items():
                put(tensors[f"buffer/{name}"], buffer)
        except (KeyError, RuntimeError) as error:
            raise UserError(f"{path} is of another model: {error}", "give another output=FOLDER") from None
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": states, "param_groups": groups})
        self.found, self.average.updates, self.sums = facts, int(facts["seen"]), facts.get("sums", {})
        return int(facts["step"])


def stage_folder(folder: Path, stage: str) -> Path:
    """Where a run keeps a stage's state; one that was begun before the stages were renamed has the old name."""
    old = folder / old_stage(stage)
    return old if (old / _WEIGHTS).exists() and not (folder / stage).exists() else folder / stage


def facts_of(folder: Path) -> dict[str, Any]:
    """Facts of the state of a stage in its folder; empty if there is none.

    Raises:
        UserError: it is damaged.
    """
    path = folder / _WEIGHTS
    try:
        return _facts(path) if path.exists() else {}
    except _DAMAGED as error:
        raise _damage(path, error) from None


def _damage(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is damaged: {error}", "remove it to train the stage again")


def _facts(path: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["facts"])
