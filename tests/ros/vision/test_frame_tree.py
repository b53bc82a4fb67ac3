"""Camera poses from ROS's frames: the right place, and errors that name the frames."""

import numpy as np
import pytest
from omegaconf import OmegaConf

from lohovla.errors import UserError
from lohovla.ros.robot.robot_profile import CameraTopics, Profile
from lohovla.ros.transport.in_process_ros import InProcessRos, LocalTransport
from lohovla.ros.transport.subscriptions import Subscriptions
from lohovla.ros.transport.time_sync import ClockOffset
from lohovla.ros.vision.camera_placement import CameraPlacement
from lohovla.ros.vision.frame_tree import FrameTree, static_transform
from lohovla.settings.hydra_config import compose

CAMERA = ([1.0, 0.0, 0.75], [-1.759988404, -1.759988404, 0.729011066])


class World:
    """A graph with frames; ``now`` is a clock of its own."""

    def __init__(self):
        self.graph, self.now = InProcessRos(), 0.0
        self.node = LocalTransport(self.graph)
        for topic, latch in (("/tf_static", True), ("/tf", False)):
            self.node.advertise(topic, "tf2_msgs/TFMessage", latch)
        self.feeds = Subscriptions(LocalTransport(self.graph), ClockOffset())

    def say(self, *frames, topic="/tf_static"):
        self.node.publish(topic, {"transforms": [static_transform(*frame, 0.0) for frame in frames]})

    def tree(self):
        return FrameTree(self.feeds, lambda: self.now)


@pytest.fixture
def world():
    return World()


def test_a_chain_over_a_common_root(world):
    """base is turned by half a turn under base_link, as a UR's is; the camera hangs on world."""
    world.say(("base_link", "base", [0, 0, 0], [0, 0, np.pi]), ("world", "base_link", [1.0, 2.0, 0.5], [0, 0, 0]))
    tree = world.tree()
    world.say(("/world", "camera_link", [1.5, 2.0, 1.5], [0, 0, 0]))
    world.say(("camera_link", "camera_optical", [0.0, 0.1, 0.0], [np.pi, 0, 0]))
    position, rotation = tree.lookup("base", "camera_optical")
    np.testing.assert_allclose(position, [-0.5, -0.1, 1.0], atol=1e-9)
    np.testing.assert_allclose(np.abs(rotation), [0, np.pi, 0], atol=1e-9)  # x of pi, seen from half a turn about z
    np.testing.assert_allclose(tree.lookup("base", "base")[0], 0.0)


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([], "no frames have come on /tf_static"),
        ([("base_link", "base", [0, 0, 0], [0, 0, 0])], "no frame camera_optical; there are base, base_link"),
        (
            [("base_link", "base", [0, 0, 0], [0, 0, 0]), ("camera_link", "camera_optical", [0, 0, 0], [0, 0, 0])],
            "base and camera_optical are not connected: base hangs on base_link, camera_optical on camera_link",
        ),
    ],
)
def test_what_is_missing_is_named(world, frames, words):
    if frames:
        world.say(*frames)
    with pytest.raises(UserError) as error:
        world.tree().lookup("base", "camera_optical")
    assert words in error.value.cause
    assert "static_transform_publisher" in error.value.remedy


def test_frames_in_a_ring_are_an_error_not_a_hang(world):
    world.say(("a", "b", [0, 0, 0], [0, 0, 0]), ("b", "a", [0, 0, 0], [0, 0, 0]), ("x", "c", [0, 0, 0], [0, 0, 0]))
    with pytest.raises(UserError):
        world.tree().lookup("a", "c")


def test_moving_frames_are_heard_only_where_they_are_needed(world):
    tree = world.tree()
    world.say(("base", "camera_link", [0, 0, 1], [0, 0, 0]))
    assert not world.graph.listened("/tf")
    with pytest.raises(UserError):
        tree.lookup("base", "camera_optical")
    assert not world.graph.listened("/tf")
    world.now = 5.0
    with pytest.raises(UserError):
        tree.lookup("base", "camera_optical")
    world.say(("camera_link", "camera_optical", [0.1, 0, 0], [0, 0, 0]), topic="/tf")
    np.testing.assert_allclose(tree.lookup("base", "camera_optical")[0], [0.1, 0, 1])


def test_transforms_that_are_none_are_left_out(world):
    tree = world.tree()
    bad = static_transform("base", "camera", [0, 0, 1], [0, 0, 0], 0.0)
    bad["transform"]["rotation"] = {"x": 0.0, "y": 0.0, "z": 0.0, "w": 0.5}
    world.node.publish("/tf_static", {"transforms": [bad]})
    with pytest.raises(UserError):
        tree.lookup("base", "camera")


def test_the_header_s_frame_is_the_calibrated_one(world):
    topics = CameraTopics("/image", position=(0.0, 0.0, 1.0), rotation=(0.0, 0.0, 0.0), frame="front_optical")
    place = CameraPlacement("front", topics, "base", None)
    assert place("front_optical") == (topics.position, topics.rotation)
    with pytest.raises(UserError, match="front sends pictures of the frame depth_optical, and front_optical"):
        place("depth_optical")


def test_a_camera_that_moves_is_an_error(world):
    world.say(("base", "optical", *CAMERA))
    place = CameraPlacement("front", CameraTopics("/image", tf=True), "base", world.tree())
    np.testing.assert_allclose(place("optical")[0], CAMERA[0])
    world.say(("base", "optical", [1.0, 0.001, 0.75], CAMERA[1]))
    np.testing.assert_allclose(place("optical")[0], CAMERA[0])  # noise of a calibration that is told again
    world.say(("base", "optical", [1.0, 0.02, 0.75], CAMERA[1]))
    with pytest.raises(UserError, match="optical moved in base by 20 mm"):
        place("optical")
    with pytest.raises(UserError, match="name no frame"):
        place("")


def settings(**camera):
    robot = OmegaConf.to_container(compose("ros", ["robot=sim-fused"]).robot)
    robot["cameras"] = {"front": {**robot["cameras"]["front"], **camera}}
    robot["top_view_cameras"] = ["front"]
    return robot


def test_two_ways_to_say_where_it_is_are_one_too_many():
    with pytest.raises(UserError, match="front has a position and tf: true"):
        Profile.from_config(settings(tf=True))
    assert Profile.from_config(settings(tf=True, position=None, rotation=None)).cameras["front"].tf


def test_a_top_view_through_frames_is_that_of_the_profile_s_numbers(world):
    """The eyes see the same picture whether the profile or ROS says where the camera is."""
    from lohovla.ros.transport.message_types import header
    from lohovla.ros.vision.camera_pipeline import CameraPipeline
    from lohovla.ros.vision.image_messages import image

    rng = np.random.default_rng(0)
    color = rng.integers(0, 255, (48, 64, 3), np.uint8)
    depth = np.full((48, 64), 7500, np.uint16)
    intrinsics = {"size": [64, 48], "focal": [60.0, 60.0], "centre": [32.0, 24.0]}
    common = {"compressed": False, "info": "", "intrinsics": intrinsics}
    seen = []
    for camera in (common, {**common, "tf": True, "position": None, "rotation": None}):
        profile = Profile.from_config(settings(**camera))
        feeds = Subscriptions(LocalTransport(world.graph), ClockOffset())
        eyes = CameraPipeline(profile, feeds, (32, 16))
        front = profile.cameras["front"]
        try:
            world.node.advertise(front.image, "sensor_msgs/Image")
            world.node.advertise(front.depth, "sensor_msgs/Image")
            world.node.publish(front.depth, image(depth, "16UC1", 5.0, "front_optical"))
            world.node.publish(front.image, image(color, "rgb8", 5.0, "front_optical"))
            if not seen:
                eyes._look()
            else:  # nobody says where it is; then somebody does
                with pytest.raises(UserError, match="front_optical in base_link is asked for"):
                    eyes._look()
                world.say(("base_link", "front_optical", *CAMERA))
                eyes._look()
            seen.append(eyes.sight.pictures["images.top"])
        finally:
            eyes.close()
    assert seen[0].std() > 10.0
    np.testing.assert_array_equal(*seen)
    assert header(0.0)
