"""The lines at the start of a training that say what is learned from the data sets, and what they lack."""

from types import SimpleNamespace

import pytest

from lohovla.data.features import CameraFeature, RobotFeatures
from lohovla.data.learned_lines import learned_lines

TOP = CameraFeature("top", 48, 64)


def features(cameras=(TOP,), state=("x", "grip"), action=("dx", "close"), still=()):
    def statistics(names):
        return {"std": [0.0 if name in still else 1.0 for name in names]}

    return RobotFeatures(
        tuple(cameras), state, action, 20.0, {"state": statistics(state), "action": statistics(action)}
    )


def lines(goal_seconds=2.0, grippers=(1,), **given):
    return learned_lines(features(**given), SimpleNamespace(grippers=list(grippers)), goal_seconds)


def test_keyframes_are_where_the_grippers_command_changes():
    assert lines()[0] == "keyframes: changes of the command of close"
    assert lines(grippers=(0, 1))[0] == "keyframes: changes of the command of dx, close"


def test_without_a_gripper_keyframes_are_stops():
    assert lines(grippers=())[0] == "keyframes: stops of the arm (no gripper)"


@pytest.mark.parametrize(
    ("goal_seconds", "said"),
    [(None, "goal pictures: not asked for"), (1.5, "without sub-tasks 1.5 s ahead")],
)
def test_goal_pictures_are_named(goal_seconds, said):
    assert said in lines(goal_seconds)[1]


def test_a_whole_set_has_these_two_lines_and_no_more():
    assert len(lines()) == 2


def test_what_is_not_read_is_named():
    assert "cameras: none are read" in lines(cameras=())
    assert "state: none is read" in lines(state=())
    assert "action: none is read" in lines(action=(), grippers=())


def test_numbers_that_never_change_are_named():
    assert [line for line in lines(still=("x", "close")) if "never changes" in line] == [
        "state: x never changes: its deviation is 0",
        "action: close never changes: its deviation is 0",
    ]
