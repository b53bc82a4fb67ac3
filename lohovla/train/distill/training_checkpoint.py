"""Training state on disk: safetensors and JSON, written whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn, optim

from lohovla.errors import UserError


def save_training_state(
    folder: Path, step: int, model: nn.Module, optimizer: optim.Optimizer, notes: dict[str, Any]
) -> None:
    """Write what goes on from here; the former checkpoint is replaced once the new one is complete."""
    part, old = (folder.with_name(folder.name + end) for end in (".part", ".old"))
    for left in (part, old):
        shutil.rmtree(left, ignore_errors=True)
    try:
        _write(part, step, model, optimizer, notes)
    except (OSError, SafetensorError):
        shutil.rmtree(part, ignore_errors=True)  # the disk may be full
        raise
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _write(part: Path, step: int, model: nn.Module, optimizer: optim.Optimizer, notes: dict[str, Any]) -> None:
    part.mkdir(parents=True)
    trained = {name: p.detach().contiguous() for name, p in model.named_parameters() if p.requires_grad}
    save_file(trained, part / "weights.safetensors")
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    for index, entries in state["state"].items():
        tensors |= {f"{index}.{name}": value.contiguous() for name, value in entries.items()}
    save_file(tensors, part / "optimizer.safetensors")
    facts = {"step": step, "groups": state["param_groups"], "notes": notes}
    (part / "state.json").write_text(json.dumps(facts), encoding="utf-8")


def load_training_state(folder: Path, model: nn.Module, optimizer: optim.Optimizer) -> tuple[int, dict[str, Any]]:
    """Put a checkpoint back; returns the step to go on with, and the notes.

    Raises:
        UserError: it cannot be read, or is not of this model, or its optimiser is not of this version.
    """
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        weights = load_file(folder / "weights.safetensors")
        tensors = load_file(folder / "optimizer.safetensors")
    except Exception as error:
        cause = str(error).splitlines()[0]
        raise UserError(f"cannot read the checkpoint in {folder}: {cause}", "start again with resume=false") from None
    own = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if weights.keys() != own.keys() or any(weights[name].shape != p.shape for name, p in own.items()):
        raise UserError(f"the checkpoint in {folder} is of another model", "start again with resume=false")
    if any(isinstance(group, list) for group in state["groups"]):  # one list for each of two optimisers
        raise UserError(
            f"the optimiser's state in {folder} was written by an older version, which this one cannot go on from",
            "start again with resume=false",
        )
    for name, parameter in own.items():
        parameter.data.copy_(weights[name])
    entries: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        entries.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": entries, "param_groups": state["groups"]})
    return state["step"], state["notes"]
