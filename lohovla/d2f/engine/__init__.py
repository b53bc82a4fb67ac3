"""The text engine: many requests decoded together over one paged cache of keys and values.

Read it in this order: ``request`` (what is asked), ``block_manager`` (who holds which page), ``request_group`` (the
answers in the making), ``request_setup`` and ``stop_conditions`` (how an answer begins and ends), ``step_plan`` (what
runs in a step), ``forward_batch`` (its rows), ``paged_attention`` and ``model_runner`` (the model over pages),
``engine`` (the loop).
"""

from __future__ import annotations

from lohovla.d2f.engine.engine import Engine
from lohovla.d2f.engine.engine_settings import EngineSettings
from lohovla.d2f.engine.request import CachedPrefix, GenerationRequest, QueueFull, RequestOutput

__all__ = ["CachedPrefix", "Engine", "EngineSettings", "GenerationRequest", "QueueFull", "RequestOutput"]
