"""Answers in the making that decode by the same plan, as one canvas: the block states of all of them at once."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from lohovla.d2f import blocks
from lohovla.d2f.blocks import Canvas
from lohovla.d2f.decode import Answer
from lohovla.d2f.denoiser import BlockDenoiser
from lohovla.d2f.engine.pages import Chain
from lohovla.d2f.engine.request import Listener, Request
from lohovla.d2f.sampling import Proposals
from lohovla.d2f.verify import Verifier, merge


@dataclass(frozen=True)
class Kind:
    """What the texts of a lane have in common."""

    size: int
    verifier: Verifier
    ranks: int


@dataclass(eq=False)
class Text:
    """A request that is being answered.

    Attributes:
        number: the engine's name for it.
        head: (p,) prompt tokens before the canvas.
        tail: prompt tokens that open the canvas.
        sees: (p,) for each of ``head`` where what it sees ends.
        chain: names of its whole pages.
        pages: that it holds.
        cached: tokens whose keys and values are in them.
        shared: of those, tokens that were there before it came.
        last: (d,) hidden state of the last committed token, which predicts the next one in models that shift.
        generator: of its draws.
        arrived, started, first: when (s of the monotonic clock) it was submitted, first run, first told a token.
    """

    number: int
    request: Request
    listener: Listener
    kind: Kind
    head: np.ndarray
    tail: np.ndarray
    sees: np.ndarray
    chain: Chain
    generator: torch.Generator
    pages: list[int] = field(default_factory=list)
    cached: int = 0
    shared: int = 0
    last: Tensor | None = None
    arrived: float = field(default_factory=time.monotonic)
    started: float | None = None
    first: float | None = None
    state: Lane | None = None  # while it waits


@dataclass(frozen=True)
class Limits:
    """Thresholds of several texts: ``accept`` (n, 1), ``add`` (n,), ``activate`` (n, 1)."""

    accept: Tensor
    add: Tensor
    activate: Tensor


class Lane:
    """Texts of one kind. It offers what a :class:`~lohovla.d2f.verify.Verifier` works on.

    Attributes:
        texts: n of them.
        canvas: their state.
        proposals: the last forward's; confidence 0 for a text that had none.
        forwards: (n,) model calls so far.
        born: (n, length) the forward that each token came from; -1 before.
    """

    def __init__(
        self, texts: list[Text], canvas: Canvas, limits: Limits, kept: Proposals, proposals: Proposals,
        born: Tensor, forwards: Tensor,
    ):  # fmt: skip
        self.texts, self.canvas, self.limits = texts, canvas, limits
        self.kept, self.proposals, self.born, self.forwards = kept, proposals, born, forwards

    @classmethod
    def begin(cls, text: Text, denoiser: BlockDenoiser) -> Lane:
        """A text that has not begun."""
        request, kind, device = text.request, text.kind, denoiser.device
        tail = torch.as_tensor(text.tail, dtype=torch.long, device=device)
        canvas = blocks.start(
            1, request.sampling.max_tokens + len(tail), kind.size, denoiser.mask_id, denoiser.eos_ids, [tail],
            device=device,
        )  # fmt: skip
        given = request.thresholds
        limits = Limits(*(
            torch.tensor(value, dtype=torch.float32, device=device)
            for value in ([[given.accept]], [given.add], [[given.activate]])
        ))  # fmt: skip
        shape = canvas.tokens.shape
        blank = Proposals(
            torch.zeros(shape, dtype=torch.long, device=device), torch.zeros(shape, device=device),
            torch.zeros(shape, device=device), torch.zeros(*shape, kind.ranks, dtype=torch.long, device=device),
            torch.zeros(*shape, kind.ranks, device=device),
        )  # fmt: skip
        kept = replace(blank, confidence=torch.ones(shape, device=device))
        born = torch.full(shape, -1, device=device)
        canvas = blocks.grow(canvas, limits)
        return cls([text], canvas, limits, kept, blank, born, torch.zeros(1, dtype=torch.long, device=device))

    # What verifiers use beside canvas and proposals.

    @property
    def settings(self) -> SimpleNamespace:
        """With the ``thresholds``."""
        return SimpleNamespace(thresholds=self.limits)

    @property
    def rows(self) -> Tensor:
        """(n,) numbers of the texts in this lane."""
        return torch.arange(len(self.texts), device=self.born.device)

    def follow(self, canvas: Canvas, proposals: Proposals, note: Tensor | None = None) -> Canvas:
        """The state after ``canvas`` by the plain rules; see :meth:`lohovla.d2f.decode.Session.follow`."""
        after, filled = blocks.accept(canvas, proposals.tokens, proposals.confidence, self.limits)
        self.note(filled if note is None else filled & note[:, None], proposals)
        return blocks.grow(blocks.retire(after), self.limits)

    def note(self, filled: Tensor, proposals: Proposals) -> None:
        """Keep what is known of the tokens ``filled`` (n, length)."""
        if not bool(filled.any()):
            return
        kept, given = vars(self.kept), vars(proposals)
        self.kept = Proposals(**{
            name: torch.where(filled if kept[name].ndim == 2 else filled[..., None], given[name], kept[name])
            for name in kept
        })  # fmt: skip
        self.born = torch.where(filled & (self.born < 0), self.forwards[:, None] - 1, self.born)

    # The step.

    def versions(self) -> tuple[list[Canvas], Tensor]:
        """The canvases to run, and (n,) bool: texts of which all of them are run, not the first one only.

        A text of whose open masks nothing was proposed yet has one version, its present state; what a verifier makes
        of it beside others' is not used.
        """
        hopeful = ((self.proposals.confidence > 0) & self.canvas.masked & self.canvas.opened).any(1)
        if not bool(hopeful.any()):
            return [self.canvas], hopeful
        made = self.texts[0].kind.verifier.versions(self)  # type: ignore[arg-type]
        if len(made) == 1 and made[0] is self.canvas:
            return made, hopeful
        return [
            version if version is self.canvas else merge(hopeful, version, self.canvas) for version in made
        ], hopeful

    def settle(self, versions: list[Canvas], proposals: list[Proposals]) -> None:
        """Go on by what a forward over ``versions`` proposed."""
        verifier = self.texts[0].kind.verifier
        canvas, self.proposals = verifier.settle(self, versions, proposals)  # type: ignore[arg-type]
        self.canvas = self.follow(canvas, self.proposals)

    # Coming and going.

    def select(self, rows: list[int]) -> Lane:
        """The texts ``rows``."""
        at = torch.tensor(rows, dtype=torch.long, device=self.born.device)
        limits = Limits(*(part[at] for part in (self.limits.accept, self.limits.add, self.limits.activate)))
        made = Lane(
            [self.texts[row] for row in rows], self.canvas.select(at), limits, self.kept.select(at),
            self.proposals.select(at), self.born[at], self.forwards[at],
        )  # fmt: skip
        return made.resized(int(made.canvas.limit.max()) if rows else 0)

    def resized(self, count: int) -> Lane:
        """With room for ``count`` blocks."""
        canvas = self.canvas
        if count == canvas.blocks:
            return self
        more = count * canvas.size - canvas.tokens.shape[1]

        def fit(x: Tensor, by: int, value: float = 0) -> Tensor:
            pad = (0, 0) * (x.ndim - 2) + (0, by)
            return torch.nn.functional.pad(x, pad, value=value)

        extra = count - canvas.blocks
        canvas = replace(
            canvas, tokens=fit(canvas.tokens, more, canvas.mask_id), given=fit(canvas.given, extra),
            full=fit(canvas.full, extra),
        )  # fmt: skip

        def all_of(parts: Proposals, sure: float) -> Proposals:
            return Proposals(**{
                name: fit(value, more, sure if name == "confidence" else 0) for name, value in vars(parts).items()
            })  # fmt: skip

        return Lane(
            self.texts, canvas, self.limits, all_of(self.kept, 1.0), all_of(self.proposals, 0.0),
            fit(self.born, more, -1), self.forwards,
        )  # fmt: skip

    def with_(self, other: Lane) -> Lane:
        """The texts of both."""
        count = max(self.canvas.blocks, other.canvas.blocks)
        mine, theirs = self.resized(count), other.resized(count)

        def join(a: object, b: object, names: tuple[str, ...]) -> dict[str, Tensor]:
            return {name: torch.cat([getattr(a, name), getattr(b, name)]) for name in names}

        return Lane(
            mine.texts + theirs.texts,
            replace(mine.canvas, **join(mine.canvas, theirs.canvas, blocks.PER_ROW)),
            Limits(**join(mine.limits, theirs.limits, ("accept", "add", "activate"))),
            Proposals(**join(mine.kept, theirs.kept, tuple(vars(mine.kept)))),
            Proposals(**join(mine.proposals, theirs.proposals, tuple(vars(mine.kept)))),
            torch.cat([mine.born, theirs.born]), torch.cat([mine.forwards, theirs.forwards]),
        )  # fmt: skip

    # What came of it.

    def answer(self, row: int, cut: int, reason: str, characters: int | None = None) -> Answer:
        """The tokens before ``cut`` (a place of the canvas); ``characters`` of their text count, all if None."""
        span = slice(len(self.texts[row].tail), cut)
        kept = self.kept
        ranked = zip(kept.ranked[row, span].tolist(), kept.ranked_logprob[row, span].tolist(), strict=True)
        return Answer(
            self.canvas.tokens[row, span].tolist(), kept.confidence[row, span].tolist(),
            kept.logprob[row, span].tolist(), [list(zip(*pair, strict=True)) for pair in ranked],
            self.born[row, span].tolist(), int(self.forwards[row]), reason, characters,
        )  # fmt: skip
