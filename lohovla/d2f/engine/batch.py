"""One forward's rows: which tokens at which places, who sees whom, and where the language head is needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lohovla.d2f.blocks import Canvas
from lohovla.d2f.engine.attention import Parts, Plan
from lohovla.d2f.engine.lane import Lane
from lohovla.d2f.engine.runner import ROWS


@dataclass(frozen=True)
class Section:
    """A version of a lane's open blocks in the forward.

    Attributes:
        canvas: the version.
        rows, columns: (m,) its masked places.
        states: (m,) the row of the forward whose hidden state tells each of them; -1 for a text's ``last``.
    """

    canvas: Canvas
    rows: Tensor
    columns: Tensor
    states: Tensor


@dataclass(frozen=True)
class Batch:
    """The rows of a forward, padded to whole tiles.

    Attributes:
        tokens: (rows,) ids.
        positions: (rows,) places in each text.
        plan: who sees whom.
        sections: of each lane, one a version.
        ends: of each lane and text, the row of the last token that is committed; -1 if none is.
        width: rows before padding.
    """

    tokens: Tensor
    positions: Tensor
    plan: Plan
    sections: list[list[Section]]
    ends: list[list[int]]
    width: int


def build(
    lanes: list[Lane], versions: list[tuple[list[Canvas], Tensor]], page: int, shift: bool, direct: bool
) -> Batch:
    """The rows that the lanes' versions need.

    Args:
        lanes: what is decoded.
        versions: of each lane, with the texts that have more than one.
        page: tokens a page; each text already holds the pages that it commits to.
        shift: whether a row's hidden state predicts the next token.
        direct: whether pages are read where they lie.
    """
    rows = _Rows(page, shift)
    sections, ends = [], []
    for lane, (made, hopeful) in zip(lanes, versions, strict=True):
        size = lane.canvas.size
        open_ = torch.stack([version.open for version in made]).tolist()
        retired, several = lane.canvas.retired.tolist(), hopeful.tolist()
        firsts = np.full((len(made), len(lane.texts)), -1)  # the row of each version's first place
        befores = np.full(len(lane.texts), -1)
        for row, text in enumerate(lane.texts):
            ready = len(text.head) + retired[row] * size
            befores[row] = rows.begin(text, ready, size, row)
            for k in range(len(made) if several[row] else 1):
                firsts[k, row] = rows.version(k, ready, len(text.head) + open_[k][row] * size)
            rows.end()
        rows.read(lane, made)
        ends.append(befores.tolist())
        sections.append([
            _section(version, lane, torch.from_numpy(firsts[k]), torch.from_numpy(befores), shift)
            for k, version in enumerate(made)
        ])  # fmt: skip
    return rows.batch(sections, ends, direct)


def _section(version: Canvas, lane: Lane, firsts: Tensor, befores: Tensor, shift: bool) -> Section:
    firsts, befores = firsts.to(version.tokens.device), befores.to(version.tokens.device)
    wanted = version.masked & version.opened & (firsts >= 0)[:, None]
    rows, columns = wanted.nonzero(as_tuple=True)
    local = columns - lane.canvas.retired[rows] * version.size
    states = firsts[rows] + local
    if shift:
        states = torch.where(local == 0, befores[rows], states - 1)
    return Section(version, rows, columns, states)


class _Rows:
    """Collects rows, text after text."""

    def __init__(self, page: int, shift: bool):
        self.page, self.shift = page, shift
        self.starts, self.cached, self.tables = [0], [], []
        self.windows, self.before, self.pages = [0], [], []  # of each part
        self.places: list[np.ndarray] = []
        self.lead_end: list[np.ndarray] = []
        self.own: list[np.ndarray] = []  # (rows, 2)
        self.kept: list[np.ndarray] = []
        self.slots: list[np.ndarray] = []
        self.tokens: list[Tensor] = []
        self._where: list[tuple[np.ndarray, int, int]] = []  # places, row of the lane, version
        self._at = 0

    def begin(self, text, ready: int, size: int, row: int) -> int:
        """The rows that are committed now: tokens from what is cached up to ``ready``. Returns the last one's row."""
        self._row, self._size, self._text = row, size, text
        prefix = text.request.prefix
        self._offset = 0 if prefix is None else prefix.start - prefix.length
        self._start, self._prompt = self._at, len(text.head)
        # A token that was found in the cache, and whose hidden state is wanted, runs once more.
        again = self.shift and text.cached == ready and text.last is None and ready > 0
        first = ready - 1 if again else text.cached
        self._cached = first
        places = np.arange(first, ready)
        head = places[places < self._prompt]
        answer = places[len(head) :]
        ends = np.concatenate([text.sees[head], self._prompt + ((answer - self._prompt) // size + 1) * size])
        self._put(places, self._start + ends - first, np.zeros((len(places), 2), np.int64), 0)
        if len(places) and not again:
            table = np.asarray(text.pages)
            self.kept.append(np.arange(self._start, self._at))
            self.slots.append(table[places // self.page] * self.page + places % self.page)
        self._lead_end = self._at
        self._part(first)
        return self._at - 1 if len(places) else -1

    def version(self, number: int, ready: int, end: int) -> int:
        """The open rows of a version: places from ``ready`` to ``end``. Returns the first one's row."""
        first = self._at
        places = np.arange(ready, end)
        ends = first + ((places - ready) // self._size + 1) * self._size
        own = np.stack([np.full(len(places), first), ends], 1)
        self._put(places, np.full(len(places), self._lead_end), own, number)
        self._part(ready)
        return first

    def _part(self, before: int) -> None:
        """What was put since the last one is a part that sees ``before`` tokens in pages."""
        if self._at > self.windows[-1]:
            self.windows.append(self._at)
            self.before.append(before)
            self.pages.append(self._text.pages[: -(-before // self.page)])

    def end(self) -> None:
        """The text is complete."""
        self.starts.append(self._at)
        self.cached.append(self._cached)
        self.tables.append(torch.as_tensor(self._text.pages[: -(-self._cached // self.page)], dtype=torch.long))

    def _put(self, places: np.ndarray, lead_end: np.ndarray, own: np.ndarray, version: int) -> None:
        self.places.append(places + self._offset)
        self.lead_end.append(lead_end)
        self.own.append(own)
        self._where.append((places, self._row, version))
        self._at += len(places)

    def read(self, lane: Lane, versions: list[Canvas]) -> None:
        """Fetch the tokens of the rows collected since the last call."""
        canvases = torch.stack([version.tokens for version in versions])
        device = canvases.device
        parts, self._where = self._where, []
        place = np.concatenate([part[0] for part in parts])
        row = np.concatenate([np.full(len(part[0]), part[1]) for part in parts])
        version = np.concatenate([np.full(len(part[0]), part[2]) for part in parts])
        prompts = np.array([len(text.head) for text in lane.texts])
        local = place - prompts[row]
        inside = local < 0
        values = np.zeros(len(place), np.int64)
        for number, text in enumerate(lane.texts):
            own = inside & (row == number)
            if own.any():
                values[own] = text.head[place[own]]
        index = [torch.from_numpy(x).to(device) for x in (version, row, np.maximum(local, 0))]
        tokens = torch.from_numpy(values).to(device)
        if canvases.shape[2]:
            tokens = torch.where(torch.from_numpy(inside).to(device), tokens, canvases[index[0], index[1], index[2]])
        self.tokens.append(tokens)

    def batch(self, sections: list[list[Section]], ends: list[list[int]], direct: bool) -> Batch:
        """All of them."""
        device = self.tokens[0].device
        extra = -self._at % ROWS

        def flat(parts: list[np.ndarray]) -> Tensor:
            return torch.from_numpy(np.concatenate(parts) if parts else np.zeros(0, np.int64)).to(device)

        own, lead_end = flat(self.own), flat(self.lead_end)
        plan = Plan(
            self.starts, [table.to(device) for table in self.tables], self.cached, lead_end, own[:, 0], own[:, 1],
            flat(self.kept), flat(self.slots), self._parts(own[:, 1], lead_end) if direct else None,
        )  # fmt: skip
        tokens, places = torch.cat(self.tokens), flat(self.places)
        pad = torch.nn.functional.pad
        return Batch(pad(tokens, (0, extra)), pad(places, (0, extra)), plan, sections, ends, self._at)

    def _parts(self, own_end: Tensor, lead_end: Tensor) -> Parts:
        most = max(map(len, self.pages), default=0)
        windows, before, pages = (
            torch.tensor(part, dtype=torch.int32, device=own_end.device)
            for part in (self.windows, self.before, [[*part, *[0] * (most - len(part))] for part in self.pages])
        )
        order = torch.where(own_end > 0, own_end, lead_end).int()
        return Parts(windows, before, pages, order, int(np.diff(self.windows).max(initial=0)))
