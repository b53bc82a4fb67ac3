"""Requests with the same decoding settings, decoded as one batch: their block states as one canvas.

The states are NumPy arrays on the host: the proposals of a forward pass are copied there once a step, and many small
operations are cheaper there than on a device.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from lohovla.d2f import block_state
from lohovla.d2f.block_state import DecodeState
from lohovla.d2f.denoiser import BlockDenoiser
from lohovla.d2f.engine.block_manager import PrefixHash
from lohovla.d2f.engine.request import GenerationRequest, Listener
from lohovla.d2f.generation_output import GenerationOutput
from lohovla.d2f.parallel_verification import Candidate, Verifier
from lohovla.d2f.sampling import Proposals


@dataclass(frozen=True)
class GroupKey:
    """What the texts of a lane have in common."""

    size: int
    verifier: Verifier
    ranks: int


@dataclass(eq=False)
class SequenceState:
    """A request that is being answered.

    Attributes:
        number: the engine's name for it.
        head: (p,) prompt tokens before the canvas.
        tail: prompt tokens that open the canvas.
        sees: (p,) for each of ``head`` where what it sees ends.
        chain: names of its whole pages.
        generator: of its draws.
        pages: that it holds.
        cached: tokens whose keys and values are in them.
        last: (d,) hidden state of the last committed token, which predicts the next one in models that shift.
        arrived, started: when (s of the monotonic clock) it was submitted, and first run.
        state: while it waits, a lane of its own.
        last_step: the engine's step in which it last ran; 0 before.
        prompt_scores: by place in the prompt, its token's log-probability and the likeliest tokens', where asked for.
    """

    number: int
    request: GenerationRequest
    listener: Listener
    kind: GroupKey
    head: np.ndarray
    tail: np.ndarray
    sees: np.ndarray
    chain: PrefixHash
    generator: torch.Generator
    pages: list[int] = field(default_factory=list)
    cached: int = 0
    last: Tensor | None = None
    arrived: float = field(default_factory=time.monotonic)
    started: float | None = None
    state: RequestGroup | None = None
    last_step: int = 0
    prompt_scores: dict[int, tuple[float, list[tuple[int, float]]]] = field(default_factory=dict)


@dataclass(frozen=True)
class BatchedThresholds:
    """Thresholds of several texts: ``accept`` (n, 1), ``add`` (n,), ``activate`` (n, 1)."""

    accept: np.ndarray
    add: np.ndarray
    activate: np.ndarray


@dataclass(frozen=True)
class GroupSettings:
    """What a verifier reads as a session's settings."""

    thresholds: BatchedThresholds


class RequestGroup:
    """Texts of one kind. It offers what a :class:`~lohovla.d2f.parallel_verification.Verifier` works on.

    Args:
        texts: n of them.
        canvas: their state.
        limits: their thresholds.
        kept: what is known of the tokens that were accepted.
        proposals: the last forward's; confidence 0 for a text that had none.
        born: (n, length) the forward that each token came from; -1 before.
        forwards: (n,) model calls so far.
    """

    def __init__(
        self,
        texts: list[SequenceState],
        canvas: DecodeState,
        limits: BatchedThresholds,
        kept: Proposals,
        proposals: Proposals,
        born: np.ndarray,
        forwards: np.ndarray,
    ):
        self.texts, self.canvas, self.settings = texts, canvas, GroupSettings(limits)
        self.kept, self.proposals, self.born, self.forwards = kept, proposals, born, forwards

    @classmethod
    def begin(cls, text: SequenceState, denoiser: BlockDenoiser, budget: int) -> RequestGroup:
        """A text that has not begun; its open blocks never need more than ``budget`` rows."""
        request, kind = text.request, text.kind
        canvas = block_state.empty_state(
            1,
            request.sampling.max_tokens + len(text.tail),
            kind.size,
            denoiser.mask_id,
            denoiser.eos_ids,
            [torch.from_numpy(text.tail)],
        ).on_host()
        canvas = replace(canvas, most_open=budget // kind.size)
        given = request.thresholds
        # Confidences are float32, shares of a block are not: each is compared with a number of its own precision.
        limits = BatchedThresholds(
            np.array([[given.accept]], np.float32), np.array([given.add]), np.array([[given.activate]])
        )
        shape, ranked = canvas.tokens.shape, (*canvas.tokens.shape, kind.ranks)
        blank = Proposals(
            np.zeros(shape, np.int64),
            np.zeros(shape, np.float32),
            np.zeros(shape, np.float32),
            np.zeros(ranked, np.int64),
            np.zeros(ranked, np.float32),
        )
        kept = Proposals(**{name: value.copy() for name, value in vars(blank).items()})
        canvas = block_state.append_block(canvas, limits)
        return cls([text], canvas, limits, kept, blank, np.full(shape, -1), np.zeros(1, np.int64))

    # What verifiers use beside canvas and proposals.

    def follow(self, canvas: DecodeState, proposals: Proposals, note: np.ndarray | None = None) -> DecodeState:
        """The state after ``canvas`` by the plain rules; see :meth:`lohovla.d2f.decode_loop.DecodeSession.follow`."""
        limits = self.settings.thresholds
        after, filled = block_state.unmask(canvas, proposals.tokens, proposals.confidence, limits)
        self.note(filled if note is None else filled & note[:, None], proposals)
        return block_state.append_block(block_state.commit_blocks(after), limits)

    def note(self, filled: np.ndarray, proposals: Proposals) -> None:
        """Keep what is known of the tokens ``filled`` (n, length)."""
        if not filled.any():
            return
        for name, kept in vars(self.kept).items():
            if kept.size:
                kept[filled] = getattr(proposals, name)[filled]
        self.born = np.where(filled & (self.born < 0), self.forwards[:, None] - 1, self.born)

    # The step.

    def versions(self) -> list[Candidate]:
        """What to run."""
        return self.texts[0].kind.verifier.versions(self)  # type: ignore[arg-type]

    def settle(self, versions: list[Candidate], proposals: list[Proposals]) -> None:
        """Go on by what a forward over ``versions`` proposed."""
        verifier = self.texts[0].kind.verifier
        canvas, self.proposals = verifier.settle(self, versions, proposals)  # type: ignore[arg-type]
        self.canvas = self.follow(canvas, self.proposals)

    # Coming and going.

    def select(self, rows: list[int]) -> RequestGroup:
        """The texts ``rows``."""
        at = np.array(rows, np.int64)
        limits = BatchedThresholds(**{name: part[at] for name, part in vars(self.settings.thresholds).items()})
        made = RequestGroup(
            [self.texts[row] for row in rows],
            self.canvas.select(at),
            limits,
            self.kept.select(at),
            self.proposals.select(at),
            self.born[at],
            self.forwards[at],
        )
        made.resize(int(made.canvas.limit.max(initial=0)))
        return made

    def resize(self, count: int) -> None:
        """Make room for ``count`` blocks."""
        canvas, extra = self.canvas, count - self.canvas.blocks
        if not extra:
            return
        more = extra * canvas.size
        self.canvas = replace(
            canvas,
            tokens=_fit(canvas.tokens, more, canvas.mask_id),
            given=_fit(canvas.given, extra),
            full=_fit(canvas.full, extra),
        )
        self.kept, self.proposals = (
            Proposals(**{name: _fit(value, more) for name, value in vars(parts).items()})
            for parts in (self.kept, self.proposals)
        )
        self.born = _fit(self.born, more, -1)

    def join(self, other: RequestGroup) -> None:
        """Take the texts of another lane in, which is used up."""
        count = max(self.canvas.blocks, other.canvas.blocks)
        self.resize(count)
        other.resize(count)

        def both(mine: object, others: object, names: tuple[str, ...]) -> dict[str, np.ndarray]:
            return {name: np.concatenate([getattr(mine, name), getattr(others, name)]) for name in names}

        limits, parts = self.settings.thresholds, tuple(vars(self.kept))
        self.texts = self.texts + other.texts
        self.canvas = replace(self.canvas, **both(self.canvas, other.canvas, block_state.PER_ROW))
        self.settings = GroupSettings(BatchedThresholds(**both(limits, other.settings.thresholds, tuple(vars(limits)))))
        self.kept = Proposals(**both(self.kept, other.kept, parts))
        self.proposals = Proposals(**both(self.proposals, other.proposals, parts))
        self.born, self.forwards = both(self, other, ("born", "forwards")).values()

    # What came of it.

    def answer(self, row: int, cut: int, reason: str, characters: int | None = None) -> GenerationOutput:
        """The tokens before ``cut`` (a place of the canvas); ``characters`` of their text count, all if None."""
        span = slice(len(self.texts[row].tail), cut)
        kept = self.kept
        ranked = zip(kept.ranked[row, span].tolist(), kept.ranked_logprob[row, span].tolist(), strict=True)
        return GenerationOutput(
            self.canvas.tokens[row, span].tolist(),
            kept.confidence[row, span].tolist(),
            kept.logprob[row, span].tolist(),
            [list(zip(*pair, strict=True)) for pair in ranked],
            self.born[row, span].tolist(),
            int(self.forwards[row]),
            reason,
            characters,
        )


def _fit(x: np.ndarray, by: int, value: float = 0) -> np.ndarray:
    """``x`` with ``by`` more columns of ``value``, or fewer."""
    if by <= 0:
        return x[:, : x.shape[1] + by]
    return np.concatenate([x, np.full((len(x), by, *x.shape[2:]), value, x.dtype)], 1)
