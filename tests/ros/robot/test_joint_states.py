"""The arm's state from topics: several publishers of joints, what is missing, old or no number, foreign frames."""

import math

import numpy as np
import pytest
from omegaconf import OmegaConf

from lohovla.control.settings import LoopSettings
from lohovla.ros.robot.joint_states import JointStates
from lohovla.ros.robot.pose_conversion import pose_message
from lohovla.ros.robot.robot_profile import Profile
from lohovla.ros.session.ros_robot import RosRobot
from lohovla.ros.transport.in_process_ros import InProcessRos, LocalTransport
from lohovla.ros.transport.message_types import header
from lohovla.ros.vision.camera_pipeline import CameraFrames
from lohovla.settings.hydra_config import compose

JOINTS, HALF = [0.1, -1.2, 1.6, -2.0, -1.57, 0.3], 0.4
STATE = [0.5, *JOINTS]  # gripper and joints
TOOL = np.array([0.48, 0.0, 0.3, 2.22, -2.22, 0.0])


class Robot:
    """A robot of a profile whose gripper tells its own joint on the arm's topic; time is made by hand."""

    def __init__(self, name, monkeypatch):
        settings = OmegaConf.to_container(compose("ros", [f"robot={name}"]).robot)
        settings["cameras"]["front"] |= {"position": [1.0, 0.0, 0.7], "rotation": [-1.76, -1.76, 0.729]}
        settings["gripper_state"] = {"kind": "joint", "topic": "finger_joint", "open": 0.0, "closed": 0.8}
        self.now = 1000.0
        monkeypatch.setattr("lohovla.ros.transport.subscriptions.time.monotonic", lambda: self.now)
        self.profile, graph = Profile.from_config(settings), InProcessRos()
        limits = LoopSettings.from_config(self.profile.loop_settings({})).limits
        self.robot = RosRobot(LocalTransport(graph), self.profile, limits, "x")
        self.robot.eyes.close()
        self.node = LocalTransport(graph)
        self.node.advertise("/joint_states", "sensor_msgs/JointState")
        self.node.advertise("/tcp_pose_broadcaster/pose", "geometry_msgs/PoseStamped")
        self.names = list(self.profile.joints["names"])

    def joints(self, names, positions, stamp=None):
        head = header(self.now if stamp is None else stamp)
        self.robot._joint_feed({"header": head, "name": names, "position": positions})  # as from a transport

    def arm(self, positions=JOINTS):
        self.tool()
        self.joints(self.names, positions)

    def tool(self, frame="base"):
        message = {"header": header(self.now, frame), "pose": pose_message(TOOL)}
        self.node.publish("/tcp_pose_broadcaster/pose", message)

    def hand(self, stamp=None):
        self.joints(["finger_joint"], [HALF], stamp)

    @property
    def fault(self):
        return self.robot.state_fault(self.now)

    @property
    def state(self):
        return self.robot.observe(self.now, False).observation["state"][6:]


@pytest.fixture(params=["ur5e", "trajectory"])
def told(request, monkeypatch):
    return Robot(request.param, monkeypatch)


def test_joints_of_several_publishers_are_kept_by_name(told):
    told.arm()
    for say in (told.hand, told.arm, told.hand, told.hand, told.arm):
        told.now += 0.02
        say()
        assert told.fault == ""
        assert told.robot.measured() is not None
        np.testing.assert_allclose(told.state, STATE, atol=1e-6)


def test_a_publisher_whose_clock_is_behind_is_heard_too(told):
    told.hand()
    told.arm()
    told.now += 0.3
    told.hand(told.now - 0.05)
    told.arm()
    told.now += 0.02
    told.hand(told.now - 0.05)  # stamped before the arm's last
    assert told.fault == ""
    np.testing.assert_allclose(told.state, STATE, atol=1e-6)


def test_a_joint_that_is_missing_is_named(told):
    assert "nothing has come" in told.fault
    told.tool()
    told.joints(told.names[:-1], JOINTS[:-1])
    assert told.fault == f"/joint_states: {told.names[-1]} never told"
    told.arm()
    assert told.fault == "/joint_states: finger_joint never told"
    told.hand()
    assert told.fault == ""


def test_a_joint_that_is_too_old_is_named(told):
    told.arm()
    told.hand()
    told.now += 0.15
    told.tool()
    told.joints(told.names[1:], JOINTS[1:])
    assert told.fault == f"/joint_states: {told.names[0]} up to 0.15 s old"
    told.now += 2.0
    told.arm()
    assert told.fault == "/joint_states: finger_joint up to 2.15 s old"  # a gripper may be slower, not that slow


@pytest.mark.parametrize("nothing", [math.nan, None])
def test_a_joint_in_use_that_is_no_number_is_named_and_zeros_are_never_made_of_it(told, nothing):
    told.arm()
    told.hand()
    np.testing.assert_allclose(told.state, STATE, atol=1e-6)
    told.arm([*JOINTS[:2], nothing, *JOINTS[3:]])
    assert told.fault == f"/joint_states: {told.names[2]} not a number"
    np.testing.assert_allclose(told.state, STATE, atol=1e-6)  # what was known last, until the arm is stopped
    told.joints(["spare_joint"], [nothing])
    told.arm()
    assert told.fault == ""  # a joint that nobody uses


def test_a_tool_in_another_frame_is_named_and_not_used(monkeypatch):
    told = Robot("ur5e", monkeypatch)
    told.arm()
    told.hand()
    told.tool("base_link")
    assert told.robot.measured() is None
    assert told.fault == "/tcp_pose_broadcaster/pose is in the frame 'base_link', the profile's frame is 'base'"
    for frame in ("base", "/base", ""):  # ROS 1 wrote a slash; some drivers write nothing
        told.tool(frame)
        assert told.fault == ""
        assert told.robot.measured() is not None


def test_a_clock_that_was_set_back_does_not_keep_an_old_joint():
    joints = JointStates()
    joints.take({"name": ["a"], "position": [1.0]}, 100.0)
    joints.take({"name": ["a"], "position": [2.0]}, 99.9)
    assert joints.positions(["a"]) == 1.0
    joints.take({"name": ["a"], "position": [3.0]}, 50.0)
    assert joints.positions(["a"]) == 3.0


def test_the_policy_is_told_the_state_of_the_moment_of_its_pictures(told):
    """A picture comes later than the state does: with the state of now the arm would seem ahead of what is seen."""
    robot, begin = told.robot, told.now
    tools = []
    for k in range(11):
        told.now = begin + 0.02 * k
        told.arm([0.1 + 0.03 * k, *JOINTS[1:]])
        told.hand()
        robot.advance(told.now)
        tools.append(robot.measured())
    robot.eyes.sight = CameraFrames({"images.top": np.zeros((2, 2, 3), np.uint8)}, {"images.top": begin + 0.11})
    seen = robot.observe(told.now, False)
    assert seen.taken == pytest.approx(begin + 0.11)
    assert seen.observation["state"][7] == pytest.approx(0.1 + 0.03 * 5.5, abs=1e-4)
    np.testing.assert_allclose(seen.observation["state"][:3], (tools[5] + tools[6])[:3] / 2, atol=1e-3)
    assert robot.state()[7] == pytest.approx(0.4)  # what it is now
