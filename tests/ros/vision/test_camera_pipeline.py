"""Colour and depth of one camera come one after the other; what the policy sees is of one moment."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from lohovla.ros.robot.robot_profile import Profile
from lohovla.ros.transport.in_process_ros import InProcessRos, LocalTransport
from lohovla.ros.transport.subscriptions import Subscriptions
from lohovla.ros.transport.time_sync import ClockOffset
from lohovla.ros.vision.camera_pipeline import DEPTH_STEP, CameraPipeline
from lohovla.ros.vision.image_messages import image
from lohovla.settings.hydra_config import compose

SIZE = (32, 16)


class Camera:
    """The simulator's camera, whose pictures hold their number."""

    def __init__(self):
        graph = InProcessRos()
        settings: Any = OmegaConf.to_container(compose("ros", []).robot)
        profile = Profile.from_config(settings)
        self.topics = profile.cameras["top"]
        clock, now = ClockOffset(), time.monotonic()
        clock.exchange(now, 100.0, now)  # what is stamped 5 s was taken long ago
        transport, self.throttles = LocalTransport(graph), {}
        subscribe = transport.subscribe

        def note(subscription):
            self.throttles[subscription.topic] = subscription.throttle
            subscribe(subscription)

        transport.subscribe = note
        self.eyes = CameraPipeline(profile, Subscriptions(transport, clock), SIZE)
        self.node = LocalTransport(graph)
        self.node.advertise(self.topics.image, "sensor_msgs/Image")
        self.node.advertise(self.topics.depth, "sensor_msgs/Image")

    def color(self, number, stamp):
        self.node.publish(self.topics.image, image(np.full((16, 32, 3), number, np.uint8), "rgb8", stamp, "top"))

    def depth(self, number, stamp):
        self.node.publish(self.topics.depth, image(np.full((16, 32), number, np.uint16), "16UC1", stamp, "top"))

    def numbers(self):
        """Of the colour and the depth that are seen."""
        sight = self.eyes.sight.pictures
        return int(sight["images.top"][0, 0, 0]), round(float(sight["depth.top"][0, 0]) / DEPTH_STEP)


@pytest.fixture
def camera():
    one = Camera()
    yield one
    one.eyes.close()


def test_a_picture_waits_for_the_depth_of_its_moment(camera):
    camera.eyes.close()  # the looks are the test's own
    camera.color(1, 5.0)
    camera.depth(1, 5.0)
    camera.eyes._look()
    first = camera.eyes.sight
    assert camera.numbers() == (1, 1)
    camera.color(2, 5.07)
    camera.eyes._look()
    assert camera.eyes.sight is first  # not the new colour with the depth of the moment before
    camera.color(3, 5.14)
    camera.depth(2, 5.07)
    camera.eyes._look()
    assert camera.numbers() == (2, 2)
    assert camera.eyes.sight.stamps["images.top"] - first.stamps["images.top"] == pytest.approx(0.07, abs=1e-3)


def test_sensors_that_do_not_take_pictures_together_are_paired_by_the_newest(camera):
    camera.eyes.close()
    for number in range(1, 5):
        camera.color(number, 5.0 + 0.066 * number)
        camera.depth(number, 5.03 + 0.066 * number)
        camera.eyes._look()
        assert camera.numbers() == (number, number)
    camera.color(5, 5.03 + 0.066 * 5)  # nearer to the depth before, which is not older for it
    camera.eyes._look()
    assert camera.numbers()[1] == 4


def test_too_far_apart_is_no_pair(camera):
    camera.eyes.close()
    camera.color(1, 5.0)
    camera.depth(1, 5.2)
    camera.eyes._look()
    assert not camera.eyes.sight.pictures


def test_a_depth_that_comes_late_is_seen_when_it_comes(camera):
    """Nothing else would wake the thread before the next colour, a whole period later."""
    camera.color(1, 5.0)
    until(lambda: not camera.eyes._wake.is_set())
    camera.depth(1, 5.0)
    until(lambda: camera.eyes.sight.pictures)
    assert camera.numbers() == (1, 1)


def until(true):
    end = time.monotonic() + 10.0
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_a_camera_at_the_rate_of_the_simulator_s_passes_a_server_s_throttle_whole(camera):
    """Pictures at 15 Hz that come up to 10 ms early and late, as through a rosbridge server."""
    asked = camera.throttles[camera.topics.image]
    period, rng = 1.0 / compose("ros-sim", []).camera_hz, np.random.default_rng(0)
    came = period * np.arange(400) + rng.uniform(-0.01, 0.01, 400)
    passed, last = 0, -1.0
    for moment in came:
        if moment - last >= asked:
            passed, last = passed + 1, moment
    assert passed > 395
