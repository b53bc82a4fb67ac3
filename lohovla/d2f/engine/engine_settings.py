"""Limits of an engine."""

from __future__ import annotations

from dataclasses import dataclass

from lohovla.errors import UserError


@dataclass(frozen=True)
class EngineSettings:
    """Limits of an engine.

    Attributes:
        page: tokens a page.
        cache_mb: memory for pages, MB.
        running: requests decoded at once.
        waiting: requests that may wait; the next one is refused.
        step_tokens: rows of a forward, above which nothing is added to it.
        share: use the pages of earlier requests that begin alike.
    """

    page: int = 16
    cache_mb: float = 256.0
    running: int = 32
    waiting: int = 256
    step_tokens: int = 4096
    share: bool = True

    def __post_init__(self) -> None:
        for name, least in (("page", 1), ("running", 1), ("waiting", 0), ("step_tokens", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}", f"it is at least {least}")
