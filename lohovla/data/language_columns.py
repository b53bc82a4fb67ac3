"""Sub-tasks as LeRobot has them since 0.6: what is said in an episode, in each of its frames.

The column ``language_persistent`` holds in every frame the same list: what is said, and from when on. It travels with
the frames through LeRobot's tools, which leave out ``meta/subtasks.parquet``, the earlier form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

PERSISTENT = "language_persistent"
FEATURE = {"dtype": "language", "shape": [1], "names": None}
_ROW = pa.struct(
    [
        pa.field("role", pa.string(), nullable=False),
        pa.field("content", pa.string()),
        pa.field("style", pa.string()),
        pa.field("timestamp", pa.float32(), nullable=False),
        pa.field("camera", pa.string()),
        pa.field("tool_calls", pa.list_(pa.string())),
    ]
)
_LATE = 1e-4  # seconds by which a frame's time may be off, as the format has it


def language_rows(
    subtasks: Sequence[str], begins: Sequence[int], plan: Sequence[str], fps: float
) -> list[dict[str, Any]]:
    """What is said in an episode: each sub-task as it begins, and with it what is left of the plan, numbered.

    Args:
        subtasks: the sentence at each frame.
        begins: frames at which a sub-task begins, rising.
        plan: the sentences that are part of the plan, others being said beside it.
        fps: frames a second.
    """
    rows = []
    for number, begin in enumerate(begins):
        left = [subtasks[later] for later in begins[number:] if subtasks[later] in plan]
        said = [("subtask", subtasks[begin])]
        if left:
            said.append(("plan", "\n".join(f"{k}. {sentence}" for k, sentence in enumerate(left, 1))))
        for style, content in said:
            time = float(np.float32(begin / fps))
            row = {"role": "assistant", "content": content, "style": style, "timestamp": time}
            rows.append({**row, "camera": None, "tool_calls": None})
    return rows


def language_column(rows: Sequence[Mapping[str, Any]], frames: int) -> pa.Array:
    """The Arrow column of an episode: its rows in each of its frames."""
    return pa.array([list(rows)] * frames, pa.list_(_ROW))


def subtasks_at(rows: Sequence[Mapping[str, Any]], times: np.ndarray) -> list[str] | None:
    """The sub-task at some times of an episode, in seconds: the one that began last; None if none is ever said.

    Raises:
        ValueError: rows are not of the format.
    """
    turns = subtask_turns(rows, times)
    return None if turns is None else turns[0]


def subtask_turns(rows: Sequence[Mapping[str, Any]], times: np.ndarray) -> tuple[list[str], np.ndarray] | None:
    """The same, and which of the episode's sub-tasks it is, counted from 0: one said twice is two; -1 before the first.

    Raises:
        ValueError: rows are not of the format.
    """
    begun = sorted(_said(rows, "subtask"), key=lambda row: row[0])
    if not begun:
        return None
    at = np.searchsorted([time for time, _ in begun], np.asarray(times, np.float64) + _LATE, "right") - 1
    return [begun[number][1] if number >= 0 else "" for number in at], at


def _said(rows: Sequence[Mapping[str, Any]], style: str) -> list[tuple[float, str]]:
    try:
        return [(float(row["timestamp"]), row["content"] or "") for row in rows or () if row["style"] == style]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{PERSISTENT} has rows of another form: {error}") from None
