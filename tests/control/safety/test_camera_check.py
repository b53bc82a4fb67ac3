"""Stale and frozen cameras are noticed; pictures that need not change are not suspected."""

import numpy as np

from lohovla.control.safety.camera_check import CameraCheck, CameraVisibility
from lohovla.control.settings import SafetySettings


def test_a_picture_that_stays_while_the_tool_moves_is_frozen_and_an_old_one_stale():
    watch = CameraCheck(SafetySettings(frozen_camera_distance=0.1, camera_stale=0.3))

    def look(x, pixel, stamp, now):
        observation = {"state": np.array([x, 0, 0]), "images.wrist": np.full((2, 2, 3), pixel, np.uint8)}
        return watch.check(observation, {"images.wrist": stamp}, now)

    assert look(0.0, 1, 0.0, 0.0) == {}
    assert look(0.0, 1, 5.0, 5.0) == {}  # at rest nothing need change
    assert look(0.09, 1, 5.1, 5.1) == {}
    assert look(0.12, 1, 5.2, 5.2) == {"images.wrist": "frozen"}
    assert look(0.12, 2, 5.3, 5.3) == {}
    assert look(0.12, 3, 5.3, 5.7) == {"images.wrist": "stale"}
    assert look(0.12, 4, 9.0, 5.8) == {"images.wrist": "stale"}  # from the future: the clocks differ


def test_only_motion_that_a_camera_sees_makes_a_picture_suspicious():
    watch = CameraCheck(SafetySettings(frozen_camera_distance=0.1))
    sight = {"images.top": CameraVisibility((-1, -1, -1), (1, 1, 0.2), (1, 1, 0))}

    def look(x, z):
        observation = {"state": np.array([x, 0, z]), "images.top": np.zeros((2, 2, 3), np.uint8)}
        return watch.check(observation, {"images.top": 0.0}, 0.0, sight)

    assert look(0.0, 0.3) == {}
    assert look(0.5, 0.3) == {}  # above its view
    assert look(0.5, 0.1) == {}  # half of the way above
    assert look(0.5, -0.1) == {}  # straight down, which shows nothing from above
    assert look(0.59, 0.1) == {}
    assert look(0.62, 0.1) == {"images.top": "frozen"}
