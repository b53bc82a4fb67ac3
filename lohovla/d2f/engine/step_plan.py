"""What runs in a step: which requests are decoded and which prompts are prefilled, within a bound of rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lohovla.d2f.engine.request_group import RequestGroup, SequenceState
from lohovla.d2f.parallel_verification import Candidate

MOST_VERSION_ROWS = 1024  # rows of a request above which no further branch or draft of it runs


@dataclass(frozen=True)
class PrefillChunk:
    """A part of what a request still has to commit, which runs without its open blocks.

    Attributes:
        text: whose it is.
        canvas: (length,) tokens of its answer, some of which are committed again after a preemption.
        size: tokens a block.
        end: place behind the last token of the part.
    """

    text: SequenceState
    canvas: np.ndarray
    size: int
    end: int


@dataclass(frozen=True)
class StepPlan:
    """What runs in a step.

    Attributes:
        decoding: numbers of the requests whose open blocks run.
        chunks: of those that are not that far.
    """

    decoding: set[int]
    chunks: list[PrefillChunk]


def plan_step(
    lanes: Iterable[RequestGroup], budget: int, chunk: int, shift: bool, allowed: int | None = None
) -> StepPlan:
    """Choose what runs, those first that have waited longest since their last step.

    Args:
        lanes: everything that was admitted.
        budget: rows of the forward at most.
        chunk: rows of a long prompt in a step, where it can be divided; one such prompt has a part in a step.
        shift: whether the model predicts the next token.
        allowed: rows that this step is to have at most, ``budget`` if None; the first request that runs may have more,
            where its prompt cannot be divided or by its open blocks.
    """
    prefilling = False
    waiting = [(text.last_step, text.number, lane, row) for lane in lanes for row, text in enumerate(lane.texts)]
    decoding: set[int] = set()
    chunks: list[PrefillChunk] = []
    left = whole = budget if allowed is None else min(budget, allowed)
    for _, number, lane, row in sorted(waiting, key=lambda entry: entry[:2]):
        text, canvas = lane.texts[row], lane.canvas
        ready, lead = uncommitted(lane, row, shift)
        opened = int(canvas.open[row] - canvas.retired[row]) * canvas.size
        if lead > chunk and (end := chunk_end(text, canvas.size, ready, min(left, chunk))) is not None:
            if not prefilling:
                prefilling = True
                chunks.append(PrefillChunk(text, canvas.tokens[row].copy(), canvas.size, end))
                left -= end - text.cached
            continue
        cost = rows_at_most(lead, opened, canvas.size, text.kind.verifier.most_versions, budget)
        # A prompt longer than a step is divided. What fits a step waits for one, so that its rows, and the bits of its
        # answer, are the same whatever else runs.
        divided = lead > whole or cost > budget
        end = chunk_end(text, canvas.size, ready, left) if lead and divided else None
        alone = not decoding and not chunks and end is None
        if alone or cost <= left:
            decoding.add(number)
            left -= cost
        elif end is not None:
            chunks.append(PrefillChunk(text, canvas.tokens[row].copy(), canvas.size, end))
            left -= end - text.cached
        if left <= 0:
            break
    return StepPlan(decoding, chunks)


def uncommitted(lane: RequestGroup, row: int, shift: bool) -> tuple[int, int]:
    """Where the committed part of a text is to end, and how many rows that needs."""
    text = lane.texts[row]
    ready = len(text.head) + int(lane.canvas.retired[row]) * lane.canvas.size
    # A token that was found in the cache, and whose hidden state is wanted, runs once more.
    return ready, ready - text.cached + int(shift and text.cached == ready and text.last is None)


def rows_at_most(lead: int, opened: int, size: int, versions: int, budget: int) -> int:
    """Rows of a request's step: more versions than fit the budget are not run, see :func:`fitting`."""
    least, budget = lead + opened, min(budget, MOST_VERSION_ROWS)
    if versions == 1:
        return least
    # A branch or draft may have a block more than what is open; a lead can run before it, by itself.
    first = least + size if lead else least
    return first if first > budget else min(budget, least + (versions - 1) * (opened + size))


def chunk_end(text: SequenceState, size: int, ready: int, most: int) -> int | None:
    """How far a text can be prefilled with ``most`` rows; None if nowhere.

    A chunk ends where no token in it sees anything behind it.
    """
    end, prompt = min(text.cached + most, ready), len(text.head)
    if end > prompt:
        end = prompt + (end - prompt) // size * size
    if end <= prompt:
        complete = np.flatnonzero(text.sees[:end] <= np.arange(1, end + 1))
        end = int(complete[-1]) + 1 if len(complete) else 0
    return end if end > text.cached else None


def longest_group(sees: np.ndarray) -> int:
    """Tokens of a prompt that see each other, and so cannot be divided: the most in one group."""
    ends = np.unique(sees)
    return int(np.diff(ends, prepend=0).max(initial=0))


def fitting(lane: RequestGroup, versions: Sequence[Candidate], budget: int) -> list[Candidate]:
    """The versions, each tried only by the requests whose rows fit the budget with it.

    This depends on nothing but the request, so that its answer does not change with the others.
    """
    budget = min(budget, MOST_VERSION_ROWS)
    cached = np.array([text.cached for text in lane.texts])
    begun = np.array([len(text.head) for text in lane.texts])
    retired, size = lane.canvas.retired, lane.canvas.size
    used = begun + retired * size - cached + (versions[0].canvas.open - retired) * size
    made = [versions[0]]
    for version in versions[1:]:
        own = (version.canvas.open - retired) * size
        rows = version.rows & (used + own <= budget)
        used = used + own * rows
        if rows.any():
            made.append(replace(version, rows=rows))
    return made
