"""Parallel verification: several versions of the open blocks in one forward, over one shared cache.

A version is a canvas that the decoder might come to. All versions stand side by side in one window, each seeing the
cache and itself, so that neither the cache nor what is being committed is copied.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from lohovla.d2f import blocks
from lohovla.d2f.blocks import Canvas
from lohovla.d2f.sampling import Proposals, Sampling
from lohovla.errors import UserError

if TYPE_CHECKING:
    from lohovla.d2f.decode import Session


class Verifier(Protocol):
    """What is tried in a forward, and what comes of it."""

    def check(self, sampling: Sampling) -> None:
        """Refuse sampling that this cannot do."""
        ...

    def versions(self, session: Session) -> list[Canvas]:
        """The canvases to run, from the session's present one."""
        ...

    def settle(self, session: Session, versions: list[Canvas], proposals: list[Proposals]) -> tuple[Canvas, Proposals]:
        """The canvas to go on from, and the proposals made for it."""
        ...


@dataclass(frozen=True)
class Plain:
    """The published decoder: one version."""

    def check(self, sampling: Sampling) -> None:
        """Anything goes."""

    def versions(self, session: Session) -> list[Canvas]:
        """The present canvas."""
        return [session.canvas]

    def settle(self, session: Session, versions: list[Canvas], proposals: list[Proposals]) -> tuple[Canvas, Proposals]:
        """The present canvas."""
        return session.canvas, proposals[0]


@dataclass(frozen=True)
class Branch:
    """Branches of one more token each; the one that makes the model surest of the rest is kept (LoPA, 2512.16229).

    The text may differ from the plain decoder's.

    Attributes:
        width: branches.
    """

    width: int = 4

    def __post_init__(self) -> None:
        if self.width < 1:
            raise UserError(f"{self.width} branches", "branches=4 is usual")

    def check(self, sampling: Sampling) -> None:
        """Anything goes."""

    def versions(self, session: Session) -> list[Canvas]:
        """The present canvas with each of its surest masked positions filled."""
        ranking = surest(session, self.width)
        if ranking is None:
            return [session.canvas]
        places, usable = ranking
        versions = [
            advance(session, pick(session, places[:, k : k + 1], usable[:, k : k + 1])) for k in range(places.shape[1])
        ]
        return versions

    def settle(self, session: Session, versions: list[Canvas], proposals: list[Proposals]) -> tuple[Canvas, Proposals]:
        """The version with the highest mean confidence over what is still masked."""
        scores = []
        for canvas, proposal in zip(versions, proposals, strict=True):
            left = canvas.masked & canvas.opened
            mean = (proposal.confidence * left).sum(1) / left.sum(1).clamp(min=1)
            scores.append(torch.where(left.any(1), mean, 1.0))
        best = torch.stack(scores).argmax(0)
        chosen, proposed = versions[0], proposals[0]
        for k in range(1, len(versions)):
            chosen, proposed = merge(best == k, versions[k], chosen), proposals[k].where(best == k, proposed)
        if session.proposals is not None:
            session.note(session.canvas.masked & ~chosen.masked, session.proposals)
        return replace(chosen, cached=session.canvas.cached), proposed


@dataclass(frozen=True)
class Chain:
    """Drafts of the steps to come, checked against what the plain decoder does: the same tokens in fewer forwards.

    From the last forward's confidences come nested drafts of the next state: the surest masked positions filled, one
    more each time. The next forward runs the present state and all drafts. Its answer to the present state gives the
    true next state; where that is one of the drafts, the answer to it is there already, and so on (after FreeDave,
    2510.00294, with the whole window's state compared).

    Attributes:
        depth: drafts.
    """

    depth: int = 6

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise UserError(f"{self.depth} drafts", "drafts=6 is usual")

    def check(self, sampling: Sampling) -> None:
        """Drafts can only come true where nothing is drawn by chance."""
        if sampling.temperature > 0:
            raise UserError("mode d2f+chain needs temperature 0", "use mode=d2f or mode=d2f+branch with a temperature")

    def versions(self, session: Session) -> list[Canvas]:
        """The present canvas and its drafts."""
        ranking = surest(session, self.depth)
        if ranking is None:
            return [session.canvas]
        places, usable = ranking
        drafts = [advance(session, pick(session, places[:, :k], usable[:, :k])) for k in range(1, places.shape[1] + 1)]
        return [session.canvas, *drafts]

    def settle(self, session: Session, versions: list[Canvas], proposals: list[Proposals]) -> tuple[Canvas, Proposals]:
        """As many plain steps as the drafts cover."""
        versions = [replace(version, cached=session.canvas.cached) for version in versions]
        canvas, proposed = session.canvas, proposals[0]
        while True:
            following = session.follow(canvas, proposed, torch.zeros_like(session.rows, dtype=torch.bool))
            moved = torch.zeros_like(session.rows, dtype=torch.bool)
            landed, answer = canvas, proposed
            for draft, proposal in zip(versions[1:], proposals[1:], strict=True):
                hit = same(following, draft) & ~same(following, canvas) & ~moved
                landed, answer = merge(hit, draft, landed), proposal.where(hit, answer)
                moved |= hit
            if not moved.any():
                return canvas, proposed
            session.follow(canvas, proposed, moved)
            canvas, proposed = landed, answer


def surest(session: Session, count: int) -> tuple[Tensor, Tensor] | None:
    """The most confident masked positions of the last forward: (n, count) places, and which of them are usable.

    None where no sequence has any: before the first forward, or when all that is masked was appended just now.
    """
    if session.proposals is None:
        return None
    canvas = session.canvas
    proposed = session.proposals.confidence
    confidence = proposed.masked_fill(~(canvas.masked & canvas.opened), 0.0)
    best, places = confidence.topk(min(count, confidence.shape[1]), -1)
    usable = best > 0
    return (places, usable) if usable.any() else None


def pick(session: Session, places: Tensor, usable: Tensor) -> Canvas:
    """The session's canvas with the proposals at ``places`` (n, k) filled in."""
    assert session.proposals is not None
    canvas, proposals = session.canvas, session.proposals
    filled = torch.zeros_like(canvas.masked).scatter(1, places, usable)
    tokens = torch.where(filled, proposals.tokens, canvas.tokens)
    ended = canvas.ended | (filled & torch.isin(tokens, canvas.eos_ids)).any(1)
    return replace(canvas, tokens=tokens, ended=ended)


def advance(session: Session, canvas: Canvas) -> Canvas:
    """What the plain rules do after a fill."""
    return blocks.grow(blocks.retire(canvas), session.settings.thresholds)


def merge(rows: Tensor, mine: Canvas, other: Canvas) -> Canvas:
    """Of the sequences ``rows`` (n,) bool the state in ``mine``, of the others that in ``other``."""
    parts = {
        field.name: torch.where(rows.view(-1, *[1] * (value.ndim - 1)), value, getattr(other, field.name))
        for field in fields(Canvas)
        if isinstance(value := getattr(mine, field.name), Tensor) and field.name != "eos_ids"
    }
    return replace(mine, **parts)


def same(mine: Canvas, other: Canvas) -> Tensor:
    """(n,) bool: sequences whose states are equal in everything that decides what comes next."""
    equal = (mine.tokens == other.tokens).all(1) & (mine.full == other.full).all(1)
    for name in ("open", "retired", "ended"):
        equal &= getattr(mine, name) == getattr(other, name)
    return equal
