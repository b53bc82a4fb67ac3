"""A text model from a checkpoint, with its tokenizer and its adapter."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lohovla.d2f import adapters
from lohovla.d2f.block_state import Thresholds
from lohovla.d2f.denoiser import DecoderDenoiser
from lohovla.d2f.end_tokens import end_token_ids
from lohovla.d2f.load_checkpoint import check_device, denoiser_of, find, load_model, read_checkpoint_json
from lohovla.errors import UserError


@dataclass(frozen=True)
class TextModelParts:
    """What a :class:`lohovla.d2f.text_model.TextModel` is made of; see its arguments."""

    tokenizer: Any
    base: DecoderDenoiser
    student: DecoderDenoiser | None = None
    thresholds: Thresholds | None = None
    size: int | None = None
    adapted: bool = False


def load_parts(
    model: str | Path | None, adapter: str | Path | None, live: bool, dtype: str | None, device: str
) -> TextModelParts:
    """Load a checkpoint; arguments and errors as of :meth:`lohovla.d2f.text_model.TextModel.load`."""
    check_device(device)
    folder = find(model)
    kind = _dtype(dtype or ("float32" if model is None else None))
    bare, layout, raw = load_model(folder, kind, device)
    tokenizer = load_tokenizer(folder)
    raw: dict[str, Any] = {
        **raw,
        "eos_token_id": list(end_token_ids(folder, raw, layout.eos_ids, tokenizer)) or None,
    }
    base = denoiser_of(bare, layout, raw)
    where = find(adapter) if adapter is not None else folder / "adapter"
    student = None
    settings = raw.get("d2f", {})
    if where.exists():
        own = bare if live else copy.deepcopy(bare)
        lora, pairs = adapters.read_adapter(where, layout, own)
        if live:
            adapters.attach_adapter(own, lora, pairs)
        else:
            adapters.merge_adapter(own, lora, pairs)
        if (where / "d2f.json").exists():
            settings = settings | read_checkpoint_json(where / "d2f.json")
        student = denoiser_of(own, layout, raw | {"d2f": settings})
    limits = Thresholds(**settings["thresholds"]) if "thresholds" in settings else None
    if live and student is not None:
        return TextModelParts(tokenizer, student, None, limits, settings.get("decode_block"), adapted=True)
    return TextModelParts(tokenizer, base, student, limits, settings.get("decode_block"))


def _dtype(name: str | None) -> torch.dtype | None:
    if name is None:
        return None
    kind = getattr(torch, name, None)
    if not isinstance(kind, torch.dtype) or not kind.is_floating_point:
        raise UserError(f"dtype cannot be {name!r}", "choose float32, bfloat16 or float16")
    return kind


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in a checkpoint's folder."""
    from transformers import PreTrainedTokenizerFast, Qwen2TokenizerFast  # type: ignore

    if (folder / "tokenizer.json").exists():
        return PreTrainedTokenizerFast.from_pretrained(folder)
    if (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
        return Qwen2TokenizerFast.from_pretrained(folder)
    raise UserError(f"{folder} has no tokenizer.json", "copy the model's tokenizer there")
