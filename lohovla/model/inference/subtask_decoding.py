"""From an encoded observation to the words of a sub-task: autoregressively, or by block diffusion."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from lohovla.d2f.block_state import Thresholds
from lohovla.d2f.decode_loop import DecodeSession, DecodeSettings
from lohovla.d2f.denoiser import BlockCache, DecoderDenoiser
from lohovla.d2f.sampling import Sampling
from lohovla.model.attention_mask import SequenceLayout, TokenType
from lohovla.model.inference.pick_place_prediction import (
    SubtaskTokens,
    copy_cache,
    embed_tokens,
    pad_tokens,
    subtask_from_tokens,
)
from lohovla.model.language.token_trie import TokenTrie
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.robot_inputs import EncodedPrefix

# Of a cache, its layout, the words of each row that it lacks, and how many it has: logits (B, V), and a layout.
Feed = Callable[[DynamicCache, SequenceLayout, list[list[int]], list[int]], tuple[Tensor, SequenceLayout]]


@torch.no_grad()
def decode_autoregressive(
    model: LoHoVLA,
    prefix: EncodedPrefix,
    start: int,
    end: int,
    grammar: TokenTrie | Sequence[TokenTrie] | None = None,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
    feed: Feed | None = None,
    longest: int | None = None,
) -> SubtaskTokens:
    """Sub-tasks word by word.

    Args:
        model: the core.
        prefix: of the observations.
        start: token that begins a sentence.
        end: token that ends one.
        grammar: sentences that may be said, of all rows or of each; words without a choice cost no pass.
        temperature: 0 takes the likeliest word.
        generator: for sampling.
        feed: runs the decoder; :func:`next_token_logits` of the model by itself.
        longest: most tokens; a sub-task's by itself.
    """
    feed = feed or (lambda *given: next_token_logits(model, *given))
    rows = prefix.state.shape[0]
    longest = model.config.max_subtask - 1 if longest is None else longest
    cache, layout = copy_cache(prefix.cache, model), prefix.layout
    tokens: list[list[int]] = [[] for _ in range(rows)]
    waiting: list[list[int]] = [[start] for _ in range(rows)]
    fed = [0] * rows
    open_rows = set(range(rows))
    grammars = [grammar] * rows if grammar is None or isinstance(grammar, TokenTrie) else list(grammar)
    for row, own in enumerate(grammars):
        if own is not None:
            _forced(own, tokens[row], waiting[row], end, open_rows, row)
    forwards = 0
    while open_rows:
        logits, layout = feed(cache, layout, waiting, fed)
        forwards += 1
        for row in range(rows):
            fed[row] += len(waiting[row])
            waiting[row] = []
        for row in sorted(open_rows):
            own = grammars[row]
            word = _choose(logits[row], own.allowed_next(tokens[row]) if own else None, temperature, generator)
            if word == end or len(tokens[row]) >= longest:
                open_rows.discard(row)
                continue
            tokens[row].append(word)
            waiting[row].append(word)
            if own is not None:
                _forced(own, tokens[row], waiting[row], end, open_rows, row)
    return SubtaskTokens(tokens, waiting, layout, cache, forwards)


def _forced(grammar: TokenTrie, tokens: list[int], waiting: list[int], end: int, open_rows: set[int], row: int) -> None:
    """Take the words that the grammar leaves no choice about."""
    while len(following := grammar.allowed_next(tokens)) == 1:
        word = following[0]
        if word == end:
            open_rows.discard(row)
            return
        tokens.append(word)
        waiting.append(word)


def _choose(
    logits: Tensor, allowed: Sequence[int] | None, temperature: float, generator: torch.Generator | None
) -> int:
    if allowed is not None:
        masked = torch.full_like(logits, -torch.inf)
        masked[list(allowed)] = logits[list(allowed)]
        logits = masked
    if temperature <= 0:
        return int(logits.argmax())
    chances = (logits / temperature).softmax(-1)
    return int(torch.multinomial(chances.cpu(), 1, generator=generator))


def next_token_logits(
    model: LoHoVLA, cache: DynamicCache, layout: SequenceLayout, waiting: list[list[int]], fed: list[int]
) -> tuple[Tensor, SequenceLayout]:
    """Run the waiting words of each row, and say what may follow them: logits (B, vocabulary); extends the cache."""
    tokens, part, places = embed_tokens(model, *pad_tokens(waiting, fed, layout.kind.device))
    layout = SequenceLayout.concat([layout, part])
    states = model.run(tokens, layout, places, cache)
    last = torch.tensor([max(0, len(row) - 1) for row in waiting], device=states.device)
    return model.vocabulary_logits(states[torch.arange(len(waiting), device=states.device), last]).float(), layout


@torch.inference_mode()
def decode_block_diffusion(
    model: LoHoVLA, prefix: EncodedPrefix, start: int, end: int, mask: int, accept: float = 0.9
) -> SubtaskTokens:
    """Sub-tasks by block diffusion (:mod:`lohovla.d2f`): several words a pass, both blocks at once.

    Args:
        model: the core.
        prefix: of the observations.
        start: token that begins a sentence, for the pointing that follows.
        end: token that ends one.
        mask: token that stands for a word not decided.
        accept: confidence above which a word is accepted.
    """
    config = model.config
    denoiser = block_denoiser_of(model, end, mask)
    lengths = (prefix.layout.kind != int(TokenType.PAD)).sum(1)
    settings = DecodeSettings(
        size=config.block_size,
        thresholds=Thresholds(accept=accept),
        sampling=Sampling(max_tokens=config.max_subtask),
    )
    rows = prefix.state.shape[0]
    place = torch.full((rows,), model.places.text + 1, device=prefix.state.device)
    session = DecodeSession(denoiser, [[]] * rows, settings, BlockCache.from_prefix(prefix.cache, lengths), place)
    with torch.inference_mode():  # the denoiser's tensors are of that kind
        for _ in session:
            pass
    words = subtask_from_tokens(model, prefix, [answer.tokens for answer in session.answers], start)
    words.forwards = session.forwards
    return words


def block_denoiser_of(model: LoHoVLA, end: int, mask: int) -> DecoderDenoiser:
    """The core's decoder as :mod:`lohovla.d2f` drives it, over noised words."""
    return DecoderDenoiser(
        model.decoder,
        lambda tokens: model.embed_tokens(tokens, TokenType.NOISED).to(model.decoder.dtype),
        model.vocabulary_logits,
        mask_id=mask,
        eos_ids=(end,),
        shift=False,
        block=model.config.block_size,
    )
