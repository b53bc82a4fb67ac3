"""What is offered either fits what is read, or the difference is said with the setting that mends it."""

import dataclasses
import json

import pytest

from lohovla.data.features import CameraFeature, RobotFeatures, match_features, numbered
from lohovla.errors import UserError


def features(cameras=("top", "wrist"), state=("x", "y"), action=("dx", "dy", "gripper"), fps=20.0):
    return RobotFeatures(tuple(CameraFeature(name, 48, 64) for name in cameras), state, action, fps)


def refused(reads, offers, rename=None, **how):
    with pytest.raises(UserError) as caught:
        match_features(reads, offers, rename or {}, "the robot", **how)
    assert "\n" not in caught.value.cause + caught.value.remedy
    return caught.value


def test_a_description_goes_through_json():
    own = dataclasses.replace(features(), statistics={"state": {"mean": [0.5, 1.5], "count": [3.0]}})
    assert RobotFeatures.from_dict(json.loads(json.dumps(own.to_dict()))) == own
    with pytest.raises(ValueError, match="no description of features"):
        RobotFeatures.from_dict({"cameras": []})


def test_the_same_names_match_whatever_the_order_and_what_is_to_spare():
    offers = features(cameras=("side", "wrist", "top"))
    assert match_features(features(), offers, {}, "the robot") == {"top": "top", "wrist": "wrist"}


def test_a_missing_camera_prints_the_setting_to_write():
    error = refused(features(), features(cameras=("camera_wrist", "overhead_top")))
    assert "has no camera top, wrist: it has camera_wrist, overhead_top" in error.cause
    assert "'rename={overhead_top: top, camera_wrist: wrist}'" in error.remedy or (
        "'rename={camera_wrist: wrist, overhead_top: top}'" in error.remedy
    )
    rename = {"camera_wrist": "wrist", "overhead_top": "top"}
    found = match_features(features(), features(cameras=("camera_wrist", "overhead_top")), rename, "the robot")
    assert found == {"top": "overhead_top", "wrist": "camera_wrist"}


def test_what_is_renamed_already_stays_in_the_setting():
    error = refused(features(), features(cameras=("a", "b")), {"a": "top"})
    assert "'rename={a: top, b: wrist}'" in error.remedy


def test_fewer_cameras_than_are_read_is_not_mended_by_names():
    error = refused(features(), features(cameras=("top",)))
    assert "has no camera wrist: it has top" in error.cause
    assert "rename" not in error.remedy


def test_renaming_wins_over_a_camera_of_that_name_and_takes_whole_names():
    rename = {"observation.images.hand": "observation.images.top"}
    found = match_features(features(("top",)), features(("top", "hand")), rename, "the robot")
    assert found == {"top": "hand"}


@pytest.mark.parametrize(
    ("rename", "said"),
    [
        ({"left": "top"}, "no camera 'left' to rename"),
        ({"top": "up"}, "names a camera 'up', which is not read"),
        ({"top": "wrist", "wrist": "wrist"}, "gives two cameras the name 'wrist'"),
    ],
)
def test_a_rename_of_what_is_not_there_is_refused(rename, said):
    assert said in refused(features(), features(), rename).cause


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"state": ("x",)}, "a state of 1 numbers, not 2: x instead of x, y"),
        ({"action": ("dx", "dy")}, "an action of 2 numbers, not 3"),
        ({"state": ("y", "x")}, "the state in another order: number 0 is 'y', not 'x'"),
        ({"action": ("dx", "dz", "gripper")}, "the action another: number 1 is 'dz', not 'dy'"),
        ({"state": ()}, "a state of 0 numbers, not 2: none instead of x, y"),
        ({"fps": 30.0}, "30 frames a second, not 20"),
    ],
)
def test_another_state_action_or_rate_is_refused(change, said):
    assert said in refused(features(), features(**change)).cause


def test_names_that_are_missing_match_any_of_their_number():
    for offers in (features(state=numbered("state", 2)), features(action=numbered("action", 3))):
        match_features(features(), offers, {}, "the robot")
        match_features(offers, features(), {}, "the robot")


def test_the_rate_need_not_be_compared():
    match_features(features(), features(fps=30.0), {}, "the robot", check_fps=False)
    match_features(features(fps=30.0), features(fps=29.9999), {}, "the robot")
