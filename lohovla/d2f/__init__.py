"""Discrete diffusion forcing: block-causal diffusion over text, its distillation, and decoding with an exact cache."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lohovla.d2f.sampling import Sampling as Sampling
    from lohovla.d2f.text_model import TextModel as TextModel

_WHERE = {"Sampling": "sampling", "TextModel": "text_model"}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: torch takes seconds."""
    if name in _WHERE:
        return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
