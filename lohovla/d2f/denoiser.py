"""What a model must offer to be decoded: one forward over a window of tokens, with a cache of what came before.

A window holds, for each sequence, the tokens that are not yet in the cache: blocks just completed, which lead and
are committed by this forward, and blocks still being denoised. Several versions of the open blocks may stand side by
side in one window (verification), so who sees whom is given as a mask and positions are explicit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
import transformers
from packaging.version import Version
from torch import Tensor, nn
from transformers import Cache

# What decoders call the cache that they are given; transformers 5.40 drops the older name.
CACHE = "cache" if Version(transformers.__version__) >= Version("5.24") else "past_key_values"


class BlockCache(Cache):
    """Keys and values of the committed tokens of several sequences, each with its own length.

    It stands in for a transformers cache: attention layers call :meth:`update`, which appends the window's keys and
    values for the time of one forward; :meth:`commit` then keeps each sequence's leading ones.

    Attributes:
        lengths: (n,) committed tokens of each sequence.
        last: (n, d) hidden state of each sequence's last committed token, which predicts the next one in models
            that shift; None until there is one.
    """

    def __init__(self, rows: int, device: torch.device | str = "cpu"):
        super().__init__(layers=[])
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)
        self.last: Tensor | None = None
        self._kept = 0  # columns in use: the longest sequence's length
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []

    @classmethod
    def from_prefix(cls, cache: Any, lengths: Tensor | None = None, last: Tensor | None = None) -> BlockCache:
        """Start from a prefix that was already run through the model.

        Args:
            cache: a transformers ``DynamicCache`` over (n, heads, prefix, head size), sequences left aligned. Its
                tensors are shared, not copied.
            lengths: (n,) tokens that count, where some sequences are shorter than the tensors.
            last: (n, d) the hidden states behind the prefix, before the language head; models that shift need it.
        """
        layers = [(layer.keys, layer.values) for layer in cache.layers]
        rows, _, prefix, _ = layers[0][0].shape
        made = cls(rows, layers[0][0].device)
        made._keys, made._values = [k for k, _ in layers], [v for _, v in layers]
        made.lengths = torch.full((rows,), prefix, device=made.lengths.device) if lengths is None else lengths.clone()
        made._kept = prefix
        made.last = last
        return made

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Put a window's keys and values (n, heads, w, head size) behind the committed ones; returns all of them."""
        window = key_states.shape[2]
        if layer_idx == len(self._keys):
            self._keys.append(key_states.new_empty(*key_states.shape[:2], 0, key_states.shape[3]))
            self._values.append(value_states.new_empty(*value_states.shape[:2], 0, value_states.shape[3]))
        end = self._kept + window
        for store, states in ((self._keys, key_states), (self._values, value_states)):
            if store[layer_idx].shape[2] < end:
                store[layer_idx] = _roomier(store[layer_idx], self._kept, end)
            store[layer_idx][:, :, self._kept : end] = states
        return self._keys[layer_idx][:, :, :end], self._values[layer_idx][:, :, :end]

    def commit(self, counts: Tensor, hidden: Tensor | None = None) -> None:
        """Keep the first ``counts`` (n,) tokens of the window that just ran, and their last hidden states.

        Args:
            counts: how many of each sequence.
            hidden: (n, w, d) the window's hidden states.
        """
        most = int(counts.max())
        if most == 0:
            return
        if hidden is not None:
            rows = torch.arange(len(counts), device=counts.device)
            latest = hidden[rows, (counts - 1).clamp(min=0)]
            self.last = latest if self.last is None else torch.where(counts[:, None] > 0, latest, self.last)
        if not bool((self.lengths == self._kept).all()):
            self._move(counts, most)
        self.lengths = self.lengths + counts
        self._kept = int(self.lengths.max())

    def _move(self, counts: Tensor, most: int) -> None:
        """Close the gaps between each sequence's own end and the window's columns."""
        step = torch.arange(most, device=counts.device)
        rows, offsets = (step < counts[:, None]).nonzero(as_tuple=True)
        target = self.lengths[rows] + offsets
        for store in (*self._keys, *self._values):
            store[rows, :, target] = store[rows, :, self._kept + offsets].clone()

    def select(self, rows: Tensor) -> None:
        """Keep the sequences ``rows`` (indices), in that order; repeats give copies."""
        self.lengths = self.lengths[rows]
        self._kept = int(self.lengths.max()) if len(rows) else 0
        self.last = None if self.last is None else self.last[rows]
        self._keys = [keys[rows] for keys in self._keys]
        self._values = [values[rows] for values in self._values]

    def visible(self) -> Tensor:
        """(n, columns) bool: which of the columns in use belong to each sequence."""
        return torch.arange(self._kept, device=self.lengths.device) < self.lengths[:, None]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Columns in use before the window."""
        return self._kept


class BlockDenoiser(Protocol):
    """A model that a decoder can drive.

    Attributes:
        mask_id: the token that means "not decided"; never accepted as an answer.
        eos_ids: tokens that end an answer.
        shift: whether the hidden state at a position predicts the *next* token, as in models that were
            autoregressive once (Dream, Fast-dLLM v2), or the token at the position itself (LLaDA, SDAR).
        prompt: who sees whom in the prompt: ``bidirectional``, ``causal``, or ``blocks`` (block-causal, blocks
            counted from the start of the sequence, so that a prompt's tail opens the first answer block).
        block: the block size that the model was trained with; None where any will do.
        autoregressive: whether it predicts the next token and nothing else; then ``mask_id`` is the number of no token.
    """

    mask_id: int
    eos_ids: tuple[int, ...]
    shift: bool
    prompt: str
    block: int | None
    autoregressive: bool

    @property
    def device(self) -> torch.device:
        """Where tokens must be."""
        ...

    def new_cache(self, rows: int) -> BlockCache:
        """An empty cache for ``rows`` sequences."""
        ...

    def forward(
        self, tokens: Tensor, positions: Tensor, visible: Tensor, cache: BlockCache, commit: Tensor | None = None
    ) -> Tensor:
        """Run a window.

        Args:
            tokens: (n, w) ids; shorter windows are padded at the end with anything.
            positions: (n, w) positions in the whole sequence.
            visible: (n, w, w) bool: which window tokens (last axis) each window token sees. All of a sequence's
                committed tokens are seen besides. Every row sees at least itself.
            cache: the committed tokens; this forward commits to it.
            commit: (n,) how many leading tokens of each window to commit; None for none. They must be decided for
                good and see only committed tokens and each other, then the cache is exact.

        Returns:
            (n, w, d) hidden states before the language head.
        """
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """The language head: (r, d) to (r, vocabulary), for the rows that are needed only."""
        ...


class DecoderDenoiser:
    """A :class:`BlockDenoiser` over a decoder of transformers (Qwen2, Qwen3, Llama and their like).

    Args:
        decoder: called with ``inputs_embeds``, ``attention_mask`` (additive, 4-D), ``position_ids`` and a cache
            (:data:`CACHE`); gives ``last_hidden_state``.
        embed: token ids (n, w) to embeddings (n, w, d).
        head: hidden states (r, d) to logits (r, vocabulary).
        mask_id: the mask token.
        eos_ids: tokens that end an answer.
        shift: see :class:`BlockDenoiser`.
        prompt: see :class:`BlockDenoiser`.
        block: see :class:`BlockDenoiser`.
        autoregressive: see :class:`BlockDenoiser`.
    """

    def __init__(
        self,
        decoder: nn.Module,
        embed: Callable[[Tensor], Tensor],
        head: Callable[[Tensor], Tensor],
        *,
        mask_id: int,
        eos_ids: tuple[int, ...],
        shift: bool,
        prompt: str = "bidirectional",
        block: int | None = None,
        autoregressive: bool = False,
    ):
        self.decoder, self.embed, self.head = decoder, embed, head
        self.mask_id, self.eos_ids, self.shift = mask_id, eos_ids, shift
        self.prompt, self.block, self.autoregressive = prompt, block, autoregressive

    @property
    def device(self) -> torch.device:
        """Where the decoder's weights are."""
        return next(self.decoder.parameters()).device

    def new_cache(self, rows: int) -> BlockCache:
        """An empty cache for ``rows`` sequences."""
        return BlockCache(rows, self.device)

    @torch.inference_mode()
    def forward(
        self, tokens: Tensor, positions: Tensor, visible: Tensor, cache: BlockCache, commit: Tensor | None = None
    ) -> Tensor:
        """Run a window; see :meth:`BlockDenoiser.forward`."""
        embeddings = self.embed(tokens)
        seen = cache.visible()[:, None].expand(-1, tokens.shape[1], -1)
        hidden = self.decoder(
            inputs_embeds=embeddings,
            attention_mask=attention_bias(torch.cat([seen, visible], -1)[:, None], embeddings.dtype),
            position_ids=positions,
            use_cache=True,
            **{CACHE: cache},
        ).last_hidden_state
        if commit is not None:
            cache.commit(commit, hidden)
        return hidden

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """The language head on (r, d) hidden states, in float32."""
        return self.head(hidden).float()


def suppress_mask(logits: Tensor, mask_id: int) -> None:
    """Let the mask token never be chosen, in place: it is no answer. Models without one have no such logit."""
    if mask_id < logits.shape[-1]:
        logits[..., mask_id] = -torch.inf


def attention_bias(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """A bool mask as what attention adds, in its shape: 0 where allowed, else the lowest number of ``dtype``."""
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill(~allowed, torch.finfo(dtype).min)


def block_causal(block_of: Tensor) -> Tensor:
    """Who sees whom in windows whose tokens belong to blocks: (n, w) ids to (n, w, w) bool.

    A token sees its own block and those before it. Blocks are numbered from 0; -1 is padding, which sees itself and
    is seen by nothing else.
    """
    sees = (block_of[:, None, :] <= block_of[:, :, None]) & (block_of[:, None, :] >= 0)
    return sees | torch.eye(block_of.shape[1], dtype=torch.bool, device=block_of.device)


def _roomier(store: Tensor, kept: int, end: int) -> Tensor:
    """A copy with room for ``end`` columns and half as many again, so that growing stays rare."""
    larger = store.new_zeros(*store.shape[:2], end + end // 2 + 32, store.shape[3])
    larger[:, :, :kept] = store[:, :, :kept]
    return larger
