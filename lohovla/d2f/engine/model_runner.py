"""The model over pages: one forward over the flattened windows of many texts."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor, nn

from lohovla.d2f.denoiser import DecoderDenoiser, suppress_mask
from lohovla.d2f.engine.engine_settings import EngineSettings
from lohovla.d2f.engine.paged_attention import NAME, AttentionMetadata, PagedKVCache
from lohovla.d2f.engine.request import CachedPrefix
from lohovla.d2f.engine.row_multiple import row_multiple
from lohovla.errors import UserError
from lohovla.kernels.lm_head_argmax import lm_head_argmax


class ModelRunner:
    """Runs a decoder of transformers over pages.

    Args:
        denoiser: the model.
        pages: how many.
        size: tokens a page.

    Attributes:
        rows: a forward has a multiple of so many, see :mod:`lohovla.d2f.engine.row_multiple`.
        fused: find confidences by the kernel, without logits in memory; on CUDA.
        seconds: spent in the model, the language head and its likeliest words included; on CUDA until its work is
            queued.
    """

    def __init__(self, denoiser: DecoderDenoiser, pages: int, size: int):
        self.denoiser, self.size, self.seconds = denoiser, size, 0.0
        self.config: Any = denoiser.decoder.config
        heads, width, layers = page_shape(denoiser)
        kind = next(denoiser.decoder.parameters())
        self.dtype, device = kind.dtype, kind.device
        shape = (pages, size, heads, width)
        self.fused = device.type == "cuda"
        head = [denoiser.head] if isinstance(denoiser.head, nn.Module) else []
        self.rows = row_multiple([*denoiser.decoder.modules(), *head])
        self.paged = PagedKVCache(
            [torch.zeros(shape, dtype=self.dtype, device=device) for _ in range(layers)],
            [torch.zeros(shape, dtype=self.dtype, device=device) for _ in range(layers)],
            direct=self.fused,
        )

    def import_prefix(self, prefix: CachedPrefix, pages: list[int]) -> None:
        """Put what was run elsewhere into pages."""
        place = torch.arange(prefix.length, device=self.paged.keys[0].device)
        slots = torch.tensor(pages, device=place.device)[place // self.size] * self.size + place % self.size
        for own, given in ((self.paged.keys, prefix.keys), (self.paged.values, prefix.values)):
            for store, part in zip(own, given, strict=True):
                store.flatten(0, 1)[slots] = part

    @torch.inference_mode()
    def forward(self, tokens: Tensor, positions: Tensor, plan: AttentionMetadata) -> Tensor:
        """Hidden states (rows, d) of ``tokens`` (rows,) at ``positions`` (rows,); keeps what the plan says."""
        began = time.perf_counter()
        self.paged.begin(plan)
        chosen = self.config._attn_implementation
        self.config._attn_implementation = NAME  # the same weights may serve other callers with another one
        try:
            return self.denoiser.decoder(
                inputs_embeds=self.denoiser.embed(tokens[None]),
                position_ids=positions[None],
                use_cache=False,
                paged=self.paged,
            ).last_hidden_state[0]
        finally:
            self.config._attn_implementation = chosen
            self.seconds += time.perf_counter() - began

    @torch.inference_mode()
    def argmax_tokens(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The likeliest word (r,), the mask excepted, its probability and the logarithm of that.

        By the kernel where it is used, without logits in memory.
        """
        began, head = time.perf_counter(), self.denoiser.head
        if self.fused and isinstance(head, nn.Linear) and head.bias is None:
            rows = torch.arange(len(hidden), dtype=torch.int32, device=hidden.device)
            word, sure = lm_head_argmax(hidden, rows, head.weight, self.denoiser.mask_id)
            logprob = sure.log()
        else:
            logits = self._logits(hidden)
            suppress_mask(logits, self.denoiser.mask_id)
            logprob, word = logits.log_softmax(-1).max(-1)
            sure = logprob.exp()
        self.seconds += time.perf_counter() - began
        return word, sure, logprob

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """The language head on (r, d) hidden states."""
        began = time.perf_counter()
        logits = self._logits(hidden)
        self.seconds += time.perf_counter() - began
        return logits

    def _logits(self, hidden: Tensor) -> Tensor:
        count = len(hidden)
        if count % self.rows:
            hidden = torch.nn.functional.pad(hidden, (0, 0, 0, -count % self.rows))
        return self.denoiser.logits(hidden)[:count]


def page_shape(denoiser: DecoderDenoiser) -> tuple[int, int, int]:
    """Key heads, size of a head, layers of a decoder, as its weights are on this process."""
    config: Any = denoiser.decoder.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    layers: Any = denoiser.decoder.layers
    heads = layers[0].self_attn.k_proj.out_features // width
    return heads, width, len(layers)


def pages_of(denoiser: DecoderDenoiser, settings: EngineSettings) -> int:
    """How many pages the cache of an engine has.

    Raises:
        UserError: not one.
    """
    pages = int(settings.cache_mb * 2**20) // (token_bytes(denoiser) * settings.block_size)
    if pages < 1:
        raise UserError(f"cache_mb={settings.cache_mb} holds not one block of the KV cache", "give a larger cache_mb")
    return pages


def token_bytes(denoiser: DecoderDenoiser) -> int:
    """Bytes of the cache that one token takes."""
    heads, width, layers = page_shape(denoiser)
    return 2 * heads * width * layers * next(denoiser.decoder.parameters()).element_size()
