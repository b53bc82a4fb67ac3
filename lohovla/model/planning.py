"""From an encoded observation to the words of a sub-task: autoregressively, or by block diffusion."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from lohovla.d2f.blocks import Thresholds
from lohovla.d2f.decode import Session, Settings
from lohovla.d2f.denoiser import BlockCache, DecoderDenoiser
from lohovla.d2f.engine.request import Prefix as Observed
from lohovla.d2f.engine.request import Request
from lohovla.d2f.sampling import Sampling
from lohovla.model.core import LoHoVLA, Prefix
from lohovla.model.grammar import Grammar
from lohovla.model.layout import Kind, Layout
from lohovla.model.pointing import Words, copy_cache, embedded, given, in_rows

# Of a cache, its layout, the words of each row that it lacks, and how many it has: logits (B, V), and a layout.
Feed = Callable[[DynamicCache, Layout, list[list[int]], list[int]], tuple[Tensor, Layout]]


@torch.no_grad()
def plan_ar(
    model: LoHoVLA,
    prefix: Prefix,
    start: int,
    end: int,
    grammar: Grammar | Sequence[Grammar] | None = None,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
    feed: Feed | None = None,
) -> Words:
    """Sub-tasks word by word.

    Args:
        model: the core.
        prefix: of the observations.
        start: token that begins a sentence.
        end: token that ends one.
        grammar: sentences that may be said, of all rows or of each; words without a choice cost no pass.
        temperature: 0 takes the likeliest word.
        generator: for sampling.
        feed: runs the decoder; :func:`next_words` of the model by itself.
    """
    feed = feed or (lambda *given: next_words(model, *given))
    rows = prefix.state.shape[0]
    longest = model.config.max_subtask - 1
    cache, layout = copy_cache(prefix.cache, model), prefix.layout
    tokens: list[list[int]] = [[] for _ in range(rows)]
    waiting: list[list[int]] = [[start] for _ in range(rows)]
    fed = [0] * rows
    open_rows = set(range(rows))
    grammars = [grammar] * rows if grammar is None or isinstance(grammar, Grammar) else list(grammar)
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
            word = _choose(logits[row], own.after(tokens[row]) if own else None, temperature, generator)
            if word == end or len(tokens[row]) >= longest:
                open_rows.discard(row)
                continue
            tokens[row].append(word)
            waiting[row].append(word)
            if own is not None:
                _forced(own, tokens[row], waiting[row], end, open_rows, row)
    return Words(tokens, waiting, layout, cache, forwards)


def _forced(grammar: Grammar, tokens: list[int], waiting: list[int], end: int, open_rows: set[int], row: int) -> None:
    """Take the words that the grammar leaves no choice about."""
    while len(following := grammar.after(tokens)) == 1:
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


def next_words(
    model: LoHoVLA, cache: DynamicCache, layout: Layout, waiting: list[list[int]], fed: list[int]
) -> tuple[Tensor, Layout]:
    """Run the waiting words of each row, and say what may follow them: logits (B, vocabulary); extends the cache."""
    tokens, part, places = embedded(model, *in_rows(waiting, fed, layout.kind.device))
    layout = Layout.join([layout, part])
    states = model.run(tokens, layout, places, cache)
    last = torch.tensor([max(0, len(row) - 1) for row in waiting], device=states.device)
    return model.vocabulary_logits(states[torch.arange(len(waiting), device=states.device), last]).float(), layout


@torch.inference_mode()
def plan_d2f(model: LoHoVLA, prefix: Prefix, start: int, end: int, mask: int, accept: float = 0.9) -> Words:
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
    denoiser = denoiser_of(model, end, mask)
    lengths = (prefix.layout.kind != int(Kind.PAD)).sum(1)
    settings = Settings(
        size=config.block_size,
        thresholds=Thresholds(accept=accept),
        sampling=Sampling(max_tokens=config.max_subtask),
    )
    rows = prefix.state.shape[0]
    place = torch.full((rows,), model.places.text + 1, device=prefix.state.device)
    session = Session(denoiser, [[]] * rows, settings, BlockCache.of_prefix(prefix.cache, lengths), place)
    with torch.inference_mode():  # the denoiser's tensors are of that kind
        for _ in session:
            pass
    words = given(model, prefix, [answer.tokens for answer in session.answers], start)
    words.forwards = session.forwards
    return words


def denoiser_of(model: LoHoVLA, end: int, mask: int) -> DecoderDenoiser:
    """The core's decoder as :mod:`lohovla.d2f` drives it, over noised words."""
    return DecoderDenoiser(
        model.decoder,
        lambda tokens: model.words(tokens, Kind.NOISED).to(model.decoder.dtype),
        model.vocabulary_logits,
        mask_id=mask,
        eos_ids=(end,),
        shift=False,
        block=model.config.block_size,
    )


def request_of(model: LoHoVLA, prefix: Prefix, row: int, accept: float = 0.9) -> Request:
    """What :func:`plan_d2f` asks of one observation, for :class:`lohovla.d2f.engine.Engine` over :func:`denoiser_of`.

    Args:
        model: the core.
        prefix: of observations.
        row: which of them.
        accept: confidence above which a word is accepted.
    """
    config = model.config
    length = int((prefix.layout.kind[row] != int(Kind.PAD)).sum())
    keys, values = (
        tuple(getattr(layer, name)[row, :, :length].transpose(0, 1) for layer in prefix.cache.layers)
        for name in ("keys", "values")
    )
    return Request(
        (), Sampling(max_tokens=config.max_subtask), Thresholds(accept=accept), size=config.block_size,
        prefix=Observed(keys, values, model.places.text + 1),
    )  # fmt: skip
