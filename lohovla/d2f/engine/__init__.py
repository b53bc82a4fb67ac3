"""The text engine: many requests decoded together over one paged cache of keys and values.

Read it in this order: ``request`` (what is asked), ``pages`` (who holds which page), ``lane`` (the answers in the
making), ``opening`` and ``ending`` (of an answer), ``batch`` (one forward's rows), ``attention`` and ``runner`` (the
model over pages), ``engine`` (the loop).
"""

from __future__ import annotations

from lohovla.d2f.engine.engine import Engine
from lohovla.d2f.engine.engine_settings import EngineSettings
from lohovla.d2f.engine.request import CachedPrefix, GenerationRequest, QueueFull, RequestOutput

__all__ = ["CachedPrefix", "Engine", "EngineSettings", "GenerationRequest", "QueueFull", "RequestOutput"]
