"""What RViz is shown."""

from types import SimpleNamespace

import numpy as np
import pytest

from lohovla.control.chunks.trajectory import Chunk
from lohovla.control.motion_limits import MotionLimits
from lohovla.errors import SetupError
from lohovla.ros.transport.in_process_ros import LocalTransport
from lohovla.ros.transport.transport import Subscription
from lohovla.ros.ui.rviz_markers import RvizMarkers
from lohovla.ros.vision.image_messages import color_of

LIMITS = MotionLimits(low=(0.3, -0.4, 0.01), high=(0.7, 0.4, 0.45))


def by_name(markers):
    return {(marker["ns"], marker["id"]): marker for marker in markers}


def xyz(point):
    return [point[axis] for axis in "xyz"]


class Silent:
    """A transport that keeps what was published."""

    def __init__(self):
        self.said = []

    def advertise(self, topic, kind):
        pass

    def publish(self, topic, message, newest=False):
        self.said.append(message)


def test_path_picks_and_places_ahead_and_behind():
    """A chunk that goes along x, closes at its second target and opens at its fourth; half a target is done."""
    actions = np.zeros((5, 7))
    actions[:, 0] = np.linspace(0.42, 0.50, 5)
    actions[:, 2], actions[1:3, 6] = 0.2, 1.0
    origin = np.array([0.40, 0.0, 0.2, 0.0, 0.0, 0.0])
    chunk = Chunk.from_actions(1, actions, 10.0, 0.1, origin, LIMITS)
    command = SimpleNamespace(pose=np.array([0.41, 0.0, 0.2, 0, 0, 0]), gripper=0.0)
    session = SimpleNamespace(
        commanded=command,
        phase="running",
        subtask="Pick.",
        clock=SimpleNamespace(now=lambda: 10.05),
        loop=SimpleNamespace(trajectory=SimpleNamespace(newest_chunk=chunk)),
        robot=SimpleNamespace(measured=lambda: origin),
    )
    transport = Silent()
    watch = RvizMarkers(transport, "base", LIMITS)
    watch(session)
    shown = by_name(transport.said[-1]["markers"])
    path = np.array([xyz(point) for point in shown["path", 0]["points"]])
    np.testing.assert_allclose(path[:, 0], [0.41, 0.42, 0.44, 0.46, 0.48, 0.50])
    assert xyz(shown["pick", 0]["pose"]["position"]) == pytest.approx([0.44, 0.0, 0.2])
    assert xyz(shown["place", 0]["pose"]["position"]) == pytest.approx([0.48, 0.0, 0.2])
    assert shown["pick", 1]["action"] == 2  # nothing was picked yet
    assert shown["subtask", 0]["text"] == "Pick."
    assert all(marker["header"]["frame_id"] == "base" for marker in shown.values())
    box = np.array([xyz(point) for point in shown["workspace", 0]["points"]])
    assert box.shape == (24, 3)
    np.testing.assert_allclose([box.min(0), box.max(0)], [LIMITS.low, LIMITS.high])

    command.gripper, command.pose = 1.0, np.array([0.44, 0.0, 0.2, 0, 0, 0])
    session.clock.now = lambda: 10.3
    watch(session)
    shown = by_name(transport.said[-1]["markers"])
    assert xyz(shown["pick", 1]["pose"]["position"]) == pytest.approx([0.44, 0.0, 0.2])
    assert shown["pick", 0]["action"] == 2
    session.commanded = session.loop.trajectory.newest_chunk = None
    session.clock.now = lambda: 11.0
    watch(session)
    assert by_name(transport.said[-1]["markers"])["path", 0]["action"] == 2


def test_a_run_publishes_them_and_its_sub_goal_as_an_image(bench):
    run, heard, pictures = bench(), [], []
    listener = LocalTransport(run.graph)
    listener.subscribe(Subscription("/lohovla/markers", "visualization_msgs/MarkerArray", heard.append))
    listener.subscribe(Subscription("/lohovla/subgoal", "sensor_msgs/Image", pictures.append))
    run.session.watchers.append(RvizMarkers(run.transport, run.profile.frame, run.session.settings.limits))
    run.start()
    run.moves()
    run.until(lambda: heard and by_name(heard[-1]["markers"])["path", 0]["action"] == 0)
    points = by_name(heard[-1]["markers"])["path", 0]["points"]
    assert np.ptp([xyz(point) for point in points], axis=0).max() > 0.01
    run.until(lambda: pictures)
    assert color_of(pictures[-1]).shape == (32, 64, 3)


def test_a_ros_without_marker_messages_is_no_error(caplog):
    class Without(Silent):
        def advertise(self, topic, kind):
            raise SetupError("this ROS has no visualization_msgs/msg/MarkerArray", "install it")

    transport = Without()
    session = SimpleNamespace(commanded=None, clock=SimpleNamespace(now=lambda: 1.0))
    RvizMarkers(transport, "base", LIMITS)(session)
    assert not transport.said
    assert "no markers" in caplog.text
