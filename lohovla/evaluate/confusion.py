"""Planned against right sub-tasks: what a policy says where it should say something else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from lohovla.envs.language import vocabulary
from lohovla.evaluate.spoken_subtask import kind_of_place

_NONE, _OTHER = "nothing to do", "other words"
_SHOWN = 12  # pairs of sentences


def plans_of(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, bool]]:
    """Every plan of some episodes that were diagnosed: what was planned, what the oracle says, whether it was right."""
    found = [row.get("diagnosis") or {} for row in rows]
    return [(said, oracle, bool(right)) for one in found for said, oracle, right in one.get("said", ())]


def kind_table(plans: Iterable[tuple[str, str, bool]]) -> tuple[list[str], list[list[str]]]:
    """Column names, and a row a kind of right sub-task: how often each kind was planned there, and was right.

    Kinds are those of the place: a bowl, a block, an area, ... A right plan counts in the column of its own kind, and
    in the last ones: how many of the row were right, and of the wrong ones how many at least had the right kind.
    """
    counts: Counter[tuple[str, str]] = Counter()
    right: Counter[str] = Counter()
    near: Counter[str] = Counter()
    for said, oracle, well in plans:
        row, column = _kind(oracle), _kind(said)
        counts[row, column] += 1
        right[row] += well
        near[row] += not well and row == column
    rows = sorted({row for row, _ in counts}, key=_place_in_order)
    columns = sorted({column for _, column in counts}, key=_place_in_order)
    header = ["", "the oracle says", *(f"planned: {column}" for column in columns), "right", "wrong, right kind"]
    lines = []
    for row in rows:
        cells = [str(counts[row, column] or "-") for column in columns]
        lines.append(["", row, *cells, str(right[row]), str(near[row])])
    return header, lines


def pair_table(plans: Iterable[tuple[str, str, bool]]) -> tuple[list[str], list[list[str]]]:
    """Column names, and a row for each of the most frequent wrong plans: the oracle's words, those planned, a count."""
    wrong = Counter((oracle or _NONE, said) for said, oracle, well in plans if not well)
    rows = [["", oracle, said, str(count)] for (oracle, said), count in wrong.most_common(_SHOWN)]
    return ["", "the oracle says", "planned, and gained nothing", "times"], rows


def _kind(text: str) -> str:
    if not text or text in (vocabulary()["done"], vocabulary()["nothing"]):
        return _NONE
    return kind_of_place(text) or _OTHER


def _place_in_order(kind: str) -> int:
    return [*vocabulary()["place"], _OTHER, _NONE].index(kind)
