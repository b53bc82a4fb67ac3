"""What is said of a scene agrees with it."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest

from lohovla.collect.privileged_labels import (
    COLORS,
    MAX_OBJECTS,
    NO_COLOR,
    any_subtasks,
    objects_of,
    points_of,
    support_of,
)
from lohovla.envs.scene.objects import BOWL_FLOOR
from lohovla.envs.tasks.goals import put_in_bowl
from lohovla.model.encoders.object_schema import LABELS, SUPPORTS

EDGE = 0.04


@pytest.fixture
def scene(hand_scene):
    """A tower of two, a block in a bowl, one on a zone, one on the table, and an empty bowl."""
    return hand_scene(
        {
            "lower": ("red", EDGE, 0.4, -0.3, 0.0),
            "upper": ("green", EDGE, 0.401, -0.3, EDGE),
            "sunk": ("blue", EDGE, 0.5, 0.0, BOWL_FLOOR),
            "marked": ("yellow", EDGE, 0.6, 0.2, 0.0),
            "plain": ("purple", EDGE, 0.45, 0.35, 0.0),
        },
        {
            "bowl0": ("orange", 0.5, 0.0),
            "bowl1": ("cyan", 0.65, -0.2),
            "zone0": ("pink", 0.1, 0.6, 0.2),
        },
    )


def row_of(table, color):
    (row,) = (dict(zip(LABELS, row, strict=True)) for row in table if row[1] == COLORS.index(color))
    return row


@pytest.mark.parametrize(
    ("block", "support"),
    [
        ("lower", ("table", "")),
        ("upper", ("block", "red")),
        ("sunk", ("bowl", "orange")),
        ("marked", ("zone", "pink")),
        ("plain", ("table", "")),
    ],
)
def test_what_a_block_stands_on(scene, block, support):
    assert support_of(scene, block) == support


def test_objects_are_those_seen_from_above(scene):
    table = objects_of(scene)
    assert table.shape == (MAX_OBJECTS, len(LABELS))
    assert (table[:, 0] >= 0).sum() == 4 + 3
    assert (table[7:] == -1).all()
    assert COLORS.index("red") not in table[:7, 1], "the covered block is left out"
    upper = row_of(table, "green")
    assert (upper["x"], upper["y"], upper["z"]) == pytest.approx((0.401, -0.3, 2 * EDGE), abs=1e-6)
    assert (SUPPORTS[int(upper["support"])], COLORS[int(upper["support_color"])]) == ("block", "red")
    assert row_of(table, "purple")["support_color"] == NO_COLOR
    assert [row_of(table, color)["occupied"] for color in ("orange", "cyan", "pink")] == [1, 0, 1]
    assert [row_of(table, color)["kind"] for color in ("green", "orange", "pink")] == [0, 1, 2]


def test_points_are_the_subtask_in_numbers(scene):
    subtask = put_in_bowl(scene, "plain", "bowl1")
    pick, place = points_of(scene, subtask)
    assert pick == pytest.approx([0.45, 0.35, EDGE, 0, EDGE], abs=1e-6)
    assert place == pytest.approx([0.65, -0.2, subtask.place.z, subtask.place.yaw, EDGE], abs=1e-6)
    assert np.isnan(points_of(scene, None)).all()


def test_random_subtasks_are_many_and_possible(scene):
    found = list(islice(any_subtasks(scene, np.random.default_rng(0)), 200))
    assert len(found) == 200
    assert "lower" not in {subtask.pick for subtask in found}, "a covered block cannot be picked"
    assert {subtask.pick for subtask in found} == {"upper", "sunk", "marked", "plain"}
    assert all(subtask.pick != subtask.target for subtask in found)
    kinds = Counter(subtask.text.split(" place it ")[1].split(" the ")[0] for subtask in found)
    assert len(kinds) >= 3
    assert all(0.25 <= subtask.place.x <= 0.75 and -0.5 <= subtask.place.y <= 0.5 for subtask in found)


def test_words_fit_one_thing_only(hand_scene):
    twins = hand_scene(
        {"a": ("red", EDGE, 0.4, -0.3, 0.0), "b": ("red", EDGE, 0.4, 0.3, 0.0), "c": ("blue", EDGE, 0.6, 0.0, 0.0)},
        {"bowl0": ("green", 0.5, 0.1), "bowl1": ("green", 0.6, -0.3)},
    )
    found = list(islice(any_subtasks(twins, np.random.default_rng(0)), 50))
    assert {subtask.pick for subtask in found} == {"c"}
    assert not any("green" in subtask.text or "on the red" in subtask.text for subtask in found)


def test_a_scene_that_cannot_be_named_has_none(hand_scene):
    twins = hand_scene({"a": ("red", EDGE, 0.4, -0.3, 0.0), "b": ("red", EDGE, 0.4, 0.3, 0.0)})
    assert list(any_subtasks(twins, np.random.default_rng(0))) == []
