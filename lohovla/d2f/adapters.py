"""D2F adapters: LoRA in PEFT's layout, with the module names of the published base model."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lohovla.d2f.checkpoint_formats import CheckpointFormat
from lohovla.d2f.load_checkpoint import read_checkpoint_json, read_safetensors
from lohovla.errors import UserError

_KEY = re.compile(r"base_model\.model\.(.+)\.lora_([AB])(?:\.default)?\.weight")


def read_adapter(
    folder: Path, layout: CheckpointFormat, model: PreTrainedModel
) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """An adapter for ``model``: its settings, and for each of the model's modules the matrices A and B.

    The settings also have ``alphas``: of each module the number that scales it, which ``alpha_pattern`` may set.

    Raises:
        UserError: it is damaged, or fits another model.
    """
    settings = read_checkpoint_json(folder / "adapter_config.json")
    if settings.get("peft_type", "LORA") != "LORA":
        raise UserError(f"{folder} is an adapter of kind {settings['peft_type']}", "only LoRA adapters are supported")
    modules = dict(model.named_modules())
    pairs: dict[str, dict[str, Tensor]] = {}
    alphas: dict[str, float] = {}
    for key, tensor in read_safetensors(folder / "adapter_model.safetensors"):
        found = _KEY.fullmatch(key)
        # Adapters made here carry the names of transformers' classes, published ones those of their base model.
        name = (layout.rename(found[1]) or found[1]) if found else None
        if found is None or name not in modules:
            raise UserError(f"{folder} is no adapter for {layout.name}: it has {key}", _BASE)
        module = modules[name]
        assert isinstance(module, nn.Linear)
        wide, side = (module.in_features, 1) if found[2] == "A" else (module.out_features, 0)
        if tensor.shape[side] != wide:
            raise UserError(
                f"{folder} fits a model of another size: {key} is {tuple(tensor.shape)}, {wide} expected", _BASE
            )
        pairs.setdefault(name, {})[found[2]] = tensor
        alphas[name] = _of_pattern(settings.get("alpha_pattern"), found[1], settings["lora_alpha"])
        rank = _of_pattern(settings.get("rank_pattern"), found[1], settings.get("r"))
        if rank is not None and tensor.shape[1 - side] != rank:
            raise UserError(
                f"{folder}: {key} has rank {tensor.shape[1 - side]}, and adapter_config.json says {rank}", _AGAIN
            )
    halves = [name for name, pair in pairs.items() if pair.keys() != {"A", "B"}]
    if halves or not pairs:
        raise UserError(f"{folder} is incomplete: {halves[0] if halves else 'it is empty'}", _AGAIN)
    return settings | {"alphas": alphas}, pairs


def _of_pattern(patterns: dict[str, float] | None, name: str, otherwise: Any) -> Any:
    """What PEFT's ``alpha_pattern`` and ``rank_pattern`` say of a module: the first that fits the end of its name."""
    for pattern, value in (patterns or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", name):
            return value
    return otherwise


_AGAIN = "download it again"
_BASE = "give the base model that the adapter was trained on"


@torch.no_grad()
def merge_adapter(model: PreTrainedModel, settings: dict[str, Any], pairs: dict[str, dict[str, Tensor]]) -> None:
    """Add the adapter to the model's weights."""
    modules = dict(model.named_modules())
    for name, pair in pairs.items():
        rank = pair["A"].shape[0]
        scale = settings["alphas"][name] / (rank**0.5 if settings.get("use_rslora") else rank)
        weight: Tensor = modules[name].weight  # type: ignore[assignment]
        update = scale * pair["B"].double() @ pair["A"].double()
        weight.copy_(weight.double() + update.to(weight.device))


def attach_adapter(model: PreTrainedModel, settings: dict[str, Any], pairs: dict[str, dict[str, Tensor]]) -> nn.Module:
    """The model inside PEFT with the adapter live: it can be switched off, swapped and trained on."""
    from peft import LoraConfig

    rank = next(iter(pairs.values()))["A"].shape[0]
    config = LoraConfig(
        r=rank,
        lora_alpha=settings["lora_alpha"],
        lora_dropout=settings.get("lora_dropout", 0.0),
        target_modules=list(pairs),
        rank_pattern={name: pair["A"].shape[0] for name, pair in pairs.items()},
        alpha_pattern=settings["alphas"],
        use_rslora=bool(settings.get("use_rslora", False)),
        bias="none",
    )
    wrapped: Any = in_peft(model, config)
    inside = dict(wrapped.base_model.model.named_modules())
    with torch.no_grad():
        for name, pair in pairs.items():
            for side, tensor in pair.items():
                target = getattr(inside[name], f"lora_{side}")["default"].weight
                target.copy_(tensor)
    return wrapped.eval()


def in_peft(model: Any, settings: Any) -> nn.Module:
    """The model inside PEFT, with an adapter of ``settings``."""
    from peft import get_peft_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers by an older name
        return get_peft_model(model, settings)
