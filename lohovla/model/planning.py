"""From an encoded observation to a sub-task: its words, autoregressively or by block diffusion, and its two points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

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
from lohovla.model.layout import Kind, Layout, expert_sees
from lohovla.model.pointer import to_points
from lohovla.model.stem import Objects, Seen

# Of a cache, its layout, the words of each row that it lacks, and how many it has: logits (B, V), and a layout.
Feed = Callable[[DynamicCache, Layout, list[list[int]], list[int]], tuple[Tensor, Layout]]


@dataclass
class Words:
    """Sub-tasks in tokens, partly in the cache.

    Attributes:
        tokens: of each sequence, without start and end.
        waiting: those that the decoder has not seen yet, the start included.
        layout: of the cache.
        cache: a copy that belongs to these words.
        forwards: decoder passes that it took.
    """

    tokens: list[list[int]]
    waiting: list[list[int]]
    layout: Layout
    cache: DynamicCache
    forwards: int


@dataclass
class Pointed:
    """A sub-task in numbers, and what the action expert reads.

    Attributes:
        points: pick and place (B, 2, 5): x, y, z (m), yaw (rad), edge (m).
        confidence: of the cells pointed at (B, 2).
        cache: keys and values for the expert.
        valid: which cached positions it may see (B, L).
        layout: of the whole cache.
        full: the whole cache.
    """

    points: Tensor
    confidence: Tensor
    cache: list[tuple[Tensor, Tensor]]
    valid: Tensor
    layout: Layout
    full: DynamicCache

    def row(self, number: int) -> Pointed:
        """One of the batch, as a batch of one; ``full`` stays that of all."""
        at = slice(number, number + 1)
        cache = [(keys[at], values[at]) for keys, values in self.cache]
        return Pointed(
            self.points[at], self.confidence[at], cache, self.valid[at], self.layout.row(number), self.full
        )  # fmt: skip


def copy_cache(cache: Any, model: LoHoVLA, rows: slice | Sequence[int] = slice(None)) -> DynamicCache:
    """A cache, of all rows or some, that can grow apart from the one it was made from; what both hold is shared."""
    copied = DynamicCache(config=model.decoder.config)
    for number, layer in enumerate(cache.layers):
        copied.update(layer.keys[rows], layer.values[rows], number)
    return copied


def some(model: LoHoVLA, prefix: Prefix, rows: Sequence[int]) -> Prefix:
    """Some rows of an encoded batch."""
    return Prefix(
        prefix.seen.rows(rows), prefix.objects.rows(rows), prefix.tokens[rows], prefix.layout.rows(rows),
        copy_cache(prefix.cache, model, rows), prefix.state[rows],
    )  # fmt: skip


def given(model: LoHoVLA, prefix: Prefix, tokens: Sequence[Sequence[int]], start: int) -> Words:
    """Sub-tasks that are known already."""
    rows = [list(row) for row in tokens]
    return Words(rows, [[start, *row] for row in rows], prefix.layout, copy_cache(prefix.cache, model), 0)


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


def in_rows(waiting: list[list[int]], fed: list[int], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Words side by side (B, w), which are real, and their places in the text; rows are padded on the right."""
    width = max(1, *map(len, waiting))
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in waiting], device=device)
    valid = torch.tensor([[k < len(row) for k in range(width)] for row in waiting], device=device)
    return tokens, valid, torch.tensor(fed, device=device)[:, None] + torch.arange(width, device=device)


def embedded(model: LoHoVLA, tokens: Tensor, valid: Tensor, order: Tensor) -> tuple[Tensor, Layout, Tensor]:
    """Words of :func:`in_rows`, embedded, with their layout and their position numbers."""
    return model.words(tokens, Kind.TEXT), Layout.part(Kind.TEXT, valid, 0, order), model.places.text + order


@torch.no_grad()
def shown(model: LoHoVLA, words: Words, subgoal: Tensor) -> Words:
    """The words with a sub-goal picture behind them, both seen by the decoder: what is pointed at follows from both.

    Args:
        model: the core.
        words: of the sub-tasks; empty ones leave all to the picture.
        subgoal: tokens of :class:`lohovla.model.subgoal.SubgoalEntry` (B, n, hidden).
    """
    rows, count, _ = subgoal.shape
    tokens, part, places = embedded(model, *in_rows(words.waiting, words_fed(words), subgoal.device))
    always = torch.ones(rows, count, dtype=torch.bool, device=subgoal.device)
    layout = Layout.join([words.layout, part, Layout.part(Kind.SUBGOAL, always, 0)])
    places = torch.cat([places, torch.full_like(always, model.places.subgoal, dtype=places.dtype)], 1)
    model.run(torch.cat([tokens, subgoal], 1), layout, places, words.cache)
    return replace(words, waiting=[[] for _ in words.tokens], layout=layout)


@torch.no_grad()
def point(model: LoHoVLA, prefix: Prefix, words: Words) -> Pointed:
    """Where to pick and where to place: two more passes, the first of which also runs the waiting words."""
    given = in_rows(words.waiting, words_fed(words), prefix.state.device)
    points, sure, layout = point_by(
        model, prefix.seen, prefix.objects, prefix.tokens, embedded(model, *given), words.layout,
        lambda tokens, layout, places: model.run(tokens, layout, places, words.cache),
    )  # fmt: skip
    return Pointed(points, sure, model.expert_cache(words.cache), expert_sees(layout, 0), layout, words.cache)


def words_fed(words: Words) -> list[int]:
    """How many words of each row the decoder has seen, the start included."""
    return [len(row) + 1 - len(left) for row, left in zip(words.tokens, words.waiting, strict=True)]


def point_by(
    model: LoHoVLA, seen: Seen, objects: Objects, states: Tensor, words: tuple[Tensor, Layout, Tensor], layout: Layout,
    run: Callable[[Tensor, Layout, Tensor], Tensor],
) -> tuple[Tensor, Tensor, Layout]:  # fmt: skip
    """Points (B, 2, 5), the confidence of each (B, 2), and the layout of all that was run.

    Args:
        model: the core.
        seen: of the stem.
        objects: the cells that are tokens.
        states: the decoder's of those tokens (B, K, hidden).
        words: those that the decoder has not seen, see :func:`embedded`.
        layout: of what it has seen.
        run: the decoder's pass: of tokens, the layout up to them, and their positions; it keeps the cache.
    """
    tokens, part, places = words
    rows, device = tokens.shape[0], tokens.device
    keys = model.pointer.keys(seen)
    always = torch.ones(rows, 1, dtype=torch.bool, device=device)
    cells, said, sure = [], [], []
    for which in range(2):
        token = model.point_tokens(seen, cells[0] if which else None, rows)
        own = Layout.part(Kind.POINT, always, 0, torch.full((1,), which, device=device))
        place = torch.full((rows, 1), model.places.point + which, device=device)
        if which:
            tokens, part, places = token, own, place
        else:
            tokens, places = torch.cat([tokens, token], 1), torch.cat([places, place], 1)
            part = Layout.join([part, own])
        layout = Layout.join([layout, part])
        hidden = run(tokens, layout, places)[:, -1:]
        logits = model.pointer.score(hidden, keys, objects, states).float()
        chance, cell = logits.softmax(-1).max(-1)
        cells.append(cell)
        sure.append(chance)
        said.append(model.pointer.read(seen, cell, hidden))
    cell, readout = torch.cat(cells, 1), torch.cat(said, 1)
    return to_points(readout, cell, model.config), torch.cat(sure, 1), layout
