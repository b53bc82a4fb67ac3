"""Sub-tasks in the frames, as LeRobot has them since 0.6."""

import numpy as np
import pyarrow as pa
import pytest

from lohovla.data import language_columns

SAID = ["Pick a.", "Pick a.", "Pick b.", "Pick b.", "Done."]
PLAN = ["Pick a.", "Pick b."]


def test_rows_are_the_formats():
    rows = language_columns.language_rows(SAID, [0, 2, 4], PLAN, 10)
    assert [(row["style"], row["content"]) for row in rows] == [
        ("subtask", "Pick a."),
        ("plan", "1. Pick a.\n2. Pick b."),
        ("subtask", "Pick b."),
        ("plan", "1. Pick b."),
        ("subtask", "Done."),
    ]
    column = language_columns.language_column(rows, 5)
    names = "role content style timestamp camera tool_calls"
    assert [field.name for field in column.type.value_type] == names.split()
    assert column.type.value_type.field("timestamp").type == pa.float32()
    assert column.to_pylist() == [rows] * 5
    assert {(row["role"], row["camera"], row["tool_calls"]) for row in rows} == {("assistant", None, None)}


@pytest.mark.parametrize("fps", [1, 20, 30])
def test_every_frame_has_the_subtask_that_began_last(fps):
    said = [f"Do {k // 7}." for k in range(100)]
    rows = language_columns.language_rows(said, range(0, 100, 7), said, fps)
    times = (np.arange(100) / fps).astype(np.float32)
    assert language_columns.subtasks_at(rows, times) == said
    assert language_columns.subtasks_at(rows[::-1], times) == said


def test_a_subtask_said_twice_is_two():
    rows = language_columns.language_rows(["Pick."] * 4 + ["Done."], [0, 2, 4], ["Pick."], 10)
    turns = language_columns.subtask_turns(rows, np.arange(5) / 10)
    assert turns is not None
    assert turns[1].tolist() == [0, 0, 1, 1, 2]


def test_before_anything_is_said_there_is_no_subtask():
    rows = [{"role": "assistant", "content": "Go.", "style": "subtask", "timestamp": 0.5}]
    assert language_columns.subtasks_at(rows, np.array([0.0, 0.5, 1.0])) == ["", "Go.", "Go."]
    assert language_columns.subtasks_at([{**rows[0], "style": "memory"}], np.zeros(1)) is None


def test_other_rows_are_refused():
    with pytest.raises(ValueError, match="another form"):
        language_columns.subtasks_at([{"text": "Go."}], np.zeros(1))
