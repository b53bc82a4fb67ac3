"""One forward's rows: which tokens at which places, who sees whom, and where the language head is needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lohovla.d2f.block_state import DecodeState
from lohovla.d2f.engine.paged_attention import AttentionMetadata, KernelMetadata
from lohovla.d2f.engine.request_group import RequestGroup, SequenceState
from lohovla.d2f.engine.step_plan import PrefillChunk
from lohovla.d2f.parallel_verification import Candidate


@dataclass(frozen=True)
class Section:
    """A version of a lane's open blocks in the forward.

    Attributes:
        canvas: the version.
        rows, columns: (m,) its masked places.
        states: (m,) the row of the forward whose hidden state tells each of them; -1 for a text's ``last``.
    """

    canvas: DecodeState
    rows: np.ndarray
    columns: np.ndarray
    states: np.ndarray


@dataclass(frozen=True)
class ForwardBatch:
    """The rows of a forward, padded to whole tiles.

    Attributes:
        tokens: (rows,) ids.
        positions: (rows,) places in each text.
        plan: who sees whom.
        sections: of each lane, one a version.
        ends: of each lane and text, the row of the last token that is committed; -1 if none is.
        chunk_ends: likewise of each prefill chunk.
        width: rows before padding.
    """

    tokens: Tensor
    positions: Tensor
    plan: AttentionMetadata
    sections: list[list[Section]]
    ends: list[list[int]]
    chunk_ends: list[int]
    width: int


def build_batch(
    lanes: list[RequestGroup],
    versions: list[list[Candidate]],
    chunks: list[PrefillChunk],
    page: int,
    shift: bool,
    direct: bool,
    device: torch.device,
    multiple: int,
) -> ForwardBatch:
    """The rows that the lanes' versions need.

    Args:
        lanes: what is decoded.
        versions: of each lane.
        chunks: what is prefilled besides.
        page: tokens a page; each text already holds the pages that it commits to.
        shift: whether a row's hidden state predicts the next token.
        direct: whether pages are read where they lie.
        device: where the forward runs.
        multiple: rows are padded to one of so many.
    """
    rows = _Rows(page, shift)
    sections, ends = [], []
    for lane, made in zip(lanes, versions, strict=True):
        size = lane.canvas.size
        retired, befores = lane.canvas.retired.tolist(), []
        opens = [version.canvas.open.tolist() for version in made]
        tried = [version.rows.tolist() for version in made]
        firsts = np.full((len(made), len(lane.texts)), -1)  # the row of each version's first place
        for row, text in enumerate(lane.texts):
            begun = len(text.head)
            ready = begun + retired[row] * size
            befores.append(rows.begin(text, ready, size, lane.canvas.tokens[row]))
            for k, version in enumerate(made):
                if tried[k][row]:
                    end = begun + opens[k][row] * size
                    if shift and end - ready == 1 and befores[-1] >= 0:
                        firsts[k, row] = 0  # a single open token is told by the one before it, and has no row itself
                        continue
                    firsts[k, row] = rows.version(ready, end, version.canvas.tokens[row, ready - begun : end - begun])
            rows.end()
        ends.append(befores)
        sections.append(
            [_section(version.canvas, lane, firsts[k], np.array(befores), shift) for k, version in enumerate(made)]
        )
    chunk_ends = []
    for chunk in chunks:
        chunk_ends.append(rows.begin(chunk.text, chunk.end, chunk.size, chunk.canvas))
        rows.end()
    return rows.batch(sections, ends, chunk_ends, direct, device, multiple)


def _section(version: DecodeState, lane: RequestGroup, firsts: np.ndarray, befores: np.ndarray, shift: bool) -> Section:
    rows, columns = (version.masked & version.opened & (firsts >= 0)[:, None]).nonzero()
    local = columns - lane.canvas.retired[rows] * version.size
    states = firsts[rows] + local
    if shift:
        states = np.where(local == 0, befores[rows], states - 1)
    return Section(version, rows, columns, states)


class _Rows:
    """Collects rows, text after text."""

    def __init__(self, page: int, shift: bool):
        self.page, self.shift = page, shift
        self.starts, self.cached, self.tables = [0], [], []
        self.windows, self.before, self.pages = [0], [], []  # of each part
        # Of each row: token, position, end of the lead that it sees, start and end of its own version.
        self.rows: list[np.ndarray] = []
        self.kept: list[np.ndarray] = []  # (2, rows): rows whose keys and values are kept, and the slots for them
        self._at = 0

    def begin(self, text: SequenceState, ready: int, size: int, canvas: np.ndarray) -> int:
        """The rows that are committed now: tokens from what is cached up to ``ready``. Returns the last one's row."""
        self._size, self._text = size, text
        prefix, prompt = text.request.prefix, len(text.head)
        self._offset = 0 if prefix is None else prefix.start - prefix.length
        # A token that was found in the cache, and whose hidden state is wanted, runs once more.
        again = self.shift and text.cached == ready and text.last is None and ready > 0
        first = self._cached = ready - 1 if again else text.cached
        start, count = self._at, ready - first
        if count:
            places = np.arange(first, ready)
            said = slice(max(first - prompt, 0), max(ready - prompt, 0))  # what of the answer is among them
            tokens = np.concatenate([text.head[first:ready], canvas[said]])
            blocks = (np.arange(said.start, said.stop) // size + 1) * size + prompt
            ends = np.concatenate([text.sees[first:ready], blocks])
            self._put(tokens, places, start + ends - first, 0, 0)
            if not again:
                slots = np.asarray(text.pages)[places // self.page] * self.page + places % self.page
                self.kept.append(np.stack([np.arange(start, self._at), slots]))
        self._lead_end = self._at
        self._part(first)
        return self._at - 1 if count else -1

    def version(self, ready: int, end: int, tokens: np.ndarray) -> int:
        """The open rows of a version: places from ``ready`` to ``end``. Returns the first one's row."""
        first = self._at
        places = np.arange(ready, end)
        self._put(tokens, places, self._lead_end, first, first + ((places - ready) // self._size + 1) * self._size)
        self._part(ready)
        return first

    def end(self) -> None:
        """The text is complete."""
        self.starts.append(self._at)
        self.cached.append(self._cached)
        self.tables.append(self._text.pages[: -(-self._cached // self.page)])

    def _put(self, tokens, places, lead_end, own_start, own_end) -> None:
        made = np.empty((5, len(places)), np.int64)
        made[0], made[1], made[2], made[3], made[4] = tokens, places + self._offset, lead_end, own_start, own_end
        self.rows.append(made)
        self._at += len(places)

    def _part(self, before: int) -> None:
        """What was put since the last one is a part that sees ``before`` tokens in pages."""
        if self._at > self.windows[-1]:
            self.windows.append(self._at)
            self.before.append(before)
            self.pages.append(self._text.pages[: -(-before // self.page)])

    def batch(
        self,
        sections: list[list[Section]],
        ends: list[list[int]],
        chunk_ends: list[int],
        direct: bool,
        device: torch.device,
        multiple: int,
    ) -> ForwardBatch:
        """All of them."""
        extra = -self._at % multiple
        rows = np.concatenate([*self.rows, np.zeros((5, extra), np.int64)], 1)
        kept = np.concatenate(self.kept, 1) if self.kept else np.zeros((2, 0), np.int64)
        pages = np.array([page for table in self.tables for page in table], np.int64)
        # All numbers go to the device at once.
        parts = (
            rows[0],
            rows[1],
            rows[2, : self._at],
            rows[3, : self._at],
            rows[4, : self._at],
            kept[0],
            kept[1],
            pages,
        )
        flat = torch.from_numpy(np.concatenate(parts)).to(device)
        tokens, positions, lead_end, own_start, own_end, keep, slots, tables = flat.split([len(part) for part in parts])
        plan = AttentionMetadata(
            self.starts,
            list(tables.split([len(table) for table in self.tables])),
            self.cached,
            lead_end,
            own_start,
            own_end,
            keep,
            slots,
            self._parts(own_end, lead_end) if direct else None,
        )
        return ForwardBatch(tokens, positions, plan, sections, ends, chunk_ends, self._at)

    def _parts(self, own_end: Tensor, lead_end: Tensor) -> KernelMetadata:
        most = max(map(len, self.pages), default=0)
        windows, before, pages = (
            torch.tensor(part, dtype=torch.int32, device=own_end.device)
            for part in (self.windows, self.before, [[*part, *[0] * (most - len(part))] for part in self.pages])
        )
        order = torch.where(own_end > 0, own_end, lead_end).int()
        return KernelMetadata(windows, before, pages, order, int(np.diff(self.windows).max(initial=0)))
