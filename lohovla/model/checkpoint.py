"""Saving and loading the model with its processor: one folder, safetensors, no pickle."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers.utils import logging

from lohovla.errors import UserError
from lohovla.model.configuration import LoHoVLAConfig
from lohovla.model.core import LoHoVLA
from lohovla.model.processor import Processor

NANO = Path(__file__).parent / "weights" / "nano"


def save(model: LoHoVLA, processor: Processor, folder: Path | str, dtype: torch.dtype | None = None) -> None:
    """Write weights (as ``dtype``, if given), configuration, tokenizer and statistics."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.to(dtype) if dtype and value.is_floating_point() else value
               for name, value in model.state_dict().items()}  # fmt: skip
    logging.disable_progress_bar()
    model.save_pretrained(str(folder), state_dict=weights)
    processor.save_pretrained(folder)


def load(
    folder: Path | str | None = None, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[LoHoVLA, Processor]:
    """A checkpoint, ready to use; ``nano`` or None is the one in the package.

    Raises:
        UserError: the folder is missing, damaged, or holds another model.
    """
    folder = NANO if folder in (None, "nano") else Path(str(folder))
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).exists():
            raise UserError(
                f"{folder} is no checkpoint: it has no {name}", "`lohovla train` makes one; checkpoint=nano is shipped"
            )
    logging.disable_progress_bar()
    try:
        config = LoHoVLAConfig.from_pretrained(str(folder))
        model, report = LoHoVLA.from_pretrained(str(folder), config=config, dtype=dtype, output_loading_info=True)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(
            f"{folder} is damaged: {str(error).strip().splitlines()[0]}", "copy or train it again"
        ) from None
    missing, unexpected = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
    if missing or unexpected or report["mismatched_keys"]:
        what = (missing or unexpected or [str(key) for key in report["mismatched_keys"]])[0]
        kind = "lacks" if missing else "has an unknown" if unexpected else "has another shape for"
        raise UserError(f"{folder} {kind} weight {what}", "it was saved by another version; train it again")
    stem = model.stem.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.stem = stem
    return model.to(device).eval(), Processor.from_pretrained(folder)
