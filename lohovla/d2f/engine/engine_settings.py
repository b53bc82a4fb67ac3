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
        max_num_batched_tokens: rows of a forward at most: prompts, open blocks, and the branches or drafts of them.
            A longer prompt is prefilled in chunks. A prompt that is read bidirectionally cannot be divided, so that it
            may have so many tokens at most.
        long_prefill_tokens: a longer prompt is prefilled in chunks of so many rows, one prompt a step, where it can be
            divided; so that others do not wait for it.
        max_model_len: tokens of a prompt with its answer at most; None is what the model was made for
            (``max_position_embeddings``), or what fits into the cache if that is less.
        step_seconds: a step is wanted to take so long at most: it has no more rows than those before it computed in
            that time. What cannot be divided (a bidirectional prompt, one request's open blocks) may take longer.
        enable_prefix_caching: use the KV cache of earlier requests that begin alike.
    """

    block_size: int = 16
    cache_mb: float = 256.0
    max_num_seqs: int = 32
    max_queue: int = 256
    max_num_batched_tokens: int = 4096
    enable_prefix_caching: bool = True
    max_model_len: int | None = None
    long_prefill_tokens: int = 256
    step_seconds: float = 0.25

    def __post_init__(self) -> None:
        counts = ("block_size", "max_num_seqs", "max_num_batched_tokens", "long_prefill_tokens")
        for name, least in (*((name, 1) for name in counts), ("max_queue", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name} cannot be {getattr(self, name)}", f"it is at least {least}")
        if self.step_seconds <= 0:
            raise UserError(f"step_seconds cannot be {self.step_seconds}", "it is a time above 0, such as 0.25")
        if self.max_model_len is not None and self.max_model_len < 2:
            raise UserError(
                f"max_model_len cannot be {self.max_model_len}", "a prompt and an answer have at least 2 tokens"
            )
