"""Limits of an engine."""

from __future__ import annotations

from dataclasses import dataclass

from lohovla.errors import UserError


@dataclass(frozen=True)
class EngineSettings:
    """Limits of an engine.

    Attributes:
        block_size: tokens a block of the KV cache.
        cache_mb: memory for the KV cache, MB.
        max_num_seqs: requests decoded at once.
        max_queue: requests that may wait; the next one is refused.
        max_num_batched_tokens: rows of a forward, above which nothing is added to it.
        enable_prefix_caching: use the KV cache of earlier requests that begin alike.
    """

    block_size: int = 16
    cache_mb: float = 256.0
    max_num_seqs: int = 32
    max_queue: int = 256
    max_num_batched_tokens: int = 4096
    enable_prefix_caching: bool = True

    def __post_init__(self) -> None:
        for name, least in (("block_size", 1), ("max_num_seqs", 1), ("max_queue", 0), ("max_num_batched_tokens", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}", f"it is at least {least}")
