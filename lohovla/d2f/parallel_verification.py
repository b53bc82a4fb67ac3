"""Parallel verification: several versions of the open blocks in one forward, over one shared cache.

A version is a canvas that the decoder might come to. All versions stand side by side in one window, each seeing the
cache and itself, so that neither the cache nor what is being committed is copied.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

from lohovla.d2f import block_state
from lohovla.d2f.block_state import PER_ROW, Array, DecodeState, array_namespace
from lohovla.d2f.sampling import Proposals, Sampling
from lohovla.errors import UserError


class VerifierContext(Protocol):
    """What a verifier works on: a :class:`DecodeSession`, or a :class:`RequestGroup` of the engine.

    Attributes:
        canvas: the state of all sequences.
        proposals: of the last forward; None before the first.
        settings: with the thresholds.
    """

    canvas: DecodeState
    proposals: Proposals | None

    @property
    def settings(self) -> Any: ...

    def note(self, filled: Any, proposals: Proposals) -> None:
        """Keep what is known of the tokens ``filled`` (n, length) by these proposals."""
        ...

    def follow(self, canvas: DecodeState, proposals: Proposals, note: Any = None) -> DecodeState:
        """The state after ``canvas`` by the plain rules; sequences of ``note`` (n,) bool really go this way."""
        ...


@dataclass(frozen=True)
class Candidate:
    """A canvas that the decoder might come to.

    Attributes:
        canvas: of all sequences; of those that do not try it, the present state.
        rows: (n,) bool: the sequences that try it. The first version is tried by all.
    """

    canvas: DecodeState
    rows: Array


class Verifier(Protocol):
    """What is tried in a forward, and what comes of it.

    Attributes:
        most_versions: versions of the open blocks in a forward at most.
    """

    @property
    def most_versions(self) -> int: ...

    def check(self, sampling: Sampling) -> None:
        """Refuse sampling that this cannot do."""
        ...

    def versions(self, session: VerifierContext) -> list[Candidate]:
        """What to run, from the session's present canvas on; at least one version."""
        ...

    def settle(
        self, session: VerifierContext, versions: list[Candidate], proposals: list[Proposals]
    ) -> tuple[DecodeState, Proposals]:
        """The canvas to go on from, and the proposals made for it."""
        ...


@dataclass(frozen=True)
class PlainVerifier:
    """The published decoder: one version."""

    @property
    def most_versions(self) -> int:
        """Versions in a forward at most."""
        return 1

    def check(self, sampling: Sampling) -> None:
        """Anything goes."""

    def versions(self, session: VerifierContext) -> list[Candidate]:
        """The present canvas."""
        return [_present(session)]

    def settle(
        self, session: VerifierContext, versions: list[Candidate], proposals: list[Proposals]
    ) -> tuple[DecodeState, Proposals]:
        """The present canvas."""
        return session.canvas, proposals[0]


@dataclass(frozen=True)
class LookaheadBranches:
    """Branches of one more token each; the one that makes the model surest of the rest is kept (LoPA, 2512.16229).

    The text may differ from the plain decoder's.

    Attributes:
        width: branches.
        least: confidence of a token from which on it may make a branch. A token is taken before the plain decoder
            would take it, and nothing takes it back; without this bound most wrong answers begin with a guess.
    """

    width: int = 4
    least: float = 0.98

    def __post_init__(self) -> None:
        if self.width < 1:
            raise UserError(f"branches cannot be {self.width}", "4 is usual")

    @property
    def most_versions(self) -> int:
        """Versions in a forward at most."""
        return self.width

    def check(self, sampling: Sampling) -> None:
        """Anything goes."""

    def versions(self, session: VerifierContext) -> list[Candidate]:
        """The present canvas with each of its surest masked positions filled; the canvas itself where none is sure."""
        ranking = top_confident(session, self.width, self.least)
        if ranking is None:
            return [_present(session)]
        places, usable = ranking
        made = [_advanced(session, places[:, k : k + 1], usable[:, k : k + 1]) for k in range(places.shape[1])]
        return [replace(made[0], rows=_everybody(session)), *made[1:]]

    def settle(
        self, session: VerifierContext, versions: list[Candidate], proposals: list[Proposals]
    ) -> tuple[DecodeState, Proposals]:
        """The version with the highest mean confidence over what is still masked."""
        lib, scores = array_namespace(session.canvas.tokens), []
        for version, proposal in zip(versions, proposals, strict=True):
            left = version.canvas.masked & version.canvas.opened
            mean = (proposal.confidence * left).sum(1) / lib.clip(left.sum(1), 1, None)
            scores.append(lib.where(version.rows, lib.where(left.any(1), mean, 1.0), -1.0))
        best = lib.stack(scores).argmax(0)
        chosen, proposed = versions[0].canvas, proposals[0]
        for k in range(1, len(versions)):
            chosen, proposed = (
                merge_states(best == k, versions[k].canvas, chosen),
                proposals[k].where(best == k, proposed),
            )
        if session.proposals is not None:
            session.note(session.canvas.masked & ~chosen.masked, session.proposals)
        return chosen, proposed


@dataclass(frozen=True)
class SpeculativeDrafts:
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
            raise UserError(f"drafts cannot be {self.depth}", "6 is usual")

    @property
    def most_versions(self) -> int:
        """Versions in a forward at most."""
        return self.depth + 1

    def check(self, sampling: Sampling) -> None:
        """Drafts can only come true where nothing is drawn by chance."""
        if sampling.temperature > 0:
            raise UserError("mode d2f+chain needs temperature 0", "use mode=d2f or mode=d2f+branch with a temperature")

    def versions(self, session: VerifierContext) -> list[Candidate]:
        """The present canvas and its drafts."""
        ranking = top_confident(session, self.depth)
        if ranking is None:
            return [_present(session)]
        places, usable = ranking
        drafts = [_advanced(session, places[:, :k], usable[:, :k]) for k in range(1, places.shape[1] + 1)]
        return [_present(session), *drafts]

    def settle(
        self, session: VerifierContext, versions: list[Candidate], proposals: list[Proposals]
    ) -> tuple[DecodeState, Proposals]:
        """As many plain steps as the drafts cover."""
        canvas, proposed, nobody = session.canvas, proposals[0], versions[0].rows & False
        while True:
            following = session.follow(canvas, proposed, nobody)
            moved, landed, answer = nobody, canvas, proposed
            for draft, proposal in zip(versions[1:], proposals[1:], strict=True):
                hit = draft.rows & states_equal(following, draft.canvas) & ~states_equal(following, canvas) & ~moved
                landed, answer = merge_states(hit, draft.canvas, landed), proposal.where(hit, answer)
                moved = moved | hit
            if not moved.any():
                return canvas, proposed
            session.follow(canvas, proposed, moved)
            canvas, proposed = landed, answer


def top_confident(session: VerifierContext, count: int, least: float = 0.0) -> tuple[Array, Array] | None:
    """The most confident masked positions of the last forward: (n, k) places with k <= count, and which are usable.

    None where no sequence has any of at least the confidence ``least``: before the first forward, for example, or
    when all that is masked was appended just now.
    """
    if session.proposals is None:
        return None
    canvas, lib = session.canvas, array_namespace(session.canvas.tokens)
    confidence = lib.where(canvas.masked & canvas.opened, session.proposals.confidence, 0.0)
    places = lib.argsort(-confidence, stable=True)[:, :count]
    best = confidence[lib.arange(len(places), device=places.device)[:, None], places]
    usable = (best > 0) & (best >= least)
    most = int(usable.sum(1).max())
    return (places[:, :most], usable[:, :most]) if most else None


def fill_positions(session: VerifierContext, places: Array, usable: Array) -> DecodeState:
    """The session's canvas with the proposals at ``places`` (n, k) filled in."""
    assert session.proposals is not None
    canvas, proposals, lib = session.canvas, session.proposals, array_namespace(session.canvas.tokens)
    column = lib.arange(canvas.tokens.shape[1], device=places.device)
    filled = ((places[..., None] == column) & usable[..., None]).any(1)
    tokens = lib.where(filled, proposals.tokens, canvas.tokens)
    return replace(canvas, tokens=tokens, ended=canvas.ended | (filled & canvas.ends(tokens)).any(1))


def merge_states(rows: Array, mine: DecodeState, other: DecodeState) -> DecodeState:
    """Of the sequences ``rows`` (n,) bool the state in ``mine``, of the others that in ``other``."""
    lib = array_namespace(rows)
    parts = {}
    for name in PER_ROW:
        value, instead = getattr(mine, name), getattr(other, name)
        parts[name] = (
            value if value is instead else lib.where(rows.reshape(-1, *[1] * (value.ndim - 1)), value, instead)
        )
    return replace(mine, **parts)


def states_equal(mine: DecodeState, other: DecodeState) -> Array:
    """(n,) bool: sequences whose states are equal in everything that decides what comes next."""
    equal = (mine.tokens == other.tokens).all(1) & (mine.full == other.full).all(1)
    for name in ("open", "retired", "ended"):
        equal = equal & (getattr(mine, name) == getattr(other, name))
    return equal


def _present(session: VerifierContext) -> Candidate:
    return Candidate(session.canvas, _everybody(session))


def _everybody(session: VerifierContext) -> Array:
    return array_namespace(session.canvas.tokens).ones_like(session.canvas.ended)


def _advanced(session: VerifierContext, places: Array, usable: Array) -> Candidate:
    """What the plain rules make of the session's canvas with ``places`` (n, k) filled, where the last one is usable."""
    canvas = block_state.append_block(
        block_state.commit_blocks(fill_positions(session, places, usable)), session.settings.thresholds
    )
    rows = usable[:, -1]
    return Candidate(merge_states(rows, canvas, session.canvas), rows)
