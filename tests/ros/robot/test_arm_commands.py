"""Commands as messages, and what the simulated robot's controllers make of them."""

from dataclasses import replace

import numpy as np
import pytest
from omegaconf import OmegaConf

from lohovla.control.motion_limits import MotionLimits
from lohovla.control.poses import compose_rotations as turned_by
from lohovla.control.safety.command_receiver import Command
from lohovla.envs.env import BlocksEnv
from lohovla.envs.scene.arm import HOME
from lohovla.envs.scene.arm import JOINTS as NAMES
from lohovla.ros.guard.guard import Guard
from lohovla.ros.guard.guard_profile import guard_settings
from lohovla.ros.robot.arm_commands import ArmCommander
from lohovla.ros.robot.joint_trajectories import COMMANDS, trajectory
from lohovla.ros.robot.pose_conversion import inverse_offset, offset_of, pose_at_offset, pose_message
from lohovla.ros.robot.robot_profile import Profile
from lohovla.ros.robot.ur5e_tool_pose import joints_of_tool, tool_of_joints
from lohovla.ros.sim.simulated_controllers import SimulatedController
from lohovla.ros.sim.simulated_ros_robot import SimulatedRosRobot
from lohovla.ros.transport.in_process_ros import InProcessRos, LocalTransport
from lohovla.ros.transport.message_types import seconds_of
from lohovla.settings.hydra_config import compose

LIMITS = MotionLimits((0.2, -0.5, 0.0), (0.8, 0.5, 0.5), 0.3, 2.0, 40.0)
LENGTH = 0.13
POSE, VELOCITY = tool_of_joints(HOME, LENGTH), np.array([0.1, 0.05, 0.0, 0.0, 0.0, 0.2])


def profile_of(robot="trajectory", **command):
    settings = OmegaConf.to_container(compose("ros", [f"robot={robot}"]).robot)
    settings["command"] |= command
    return Profile.from_config(settings)


def message_of(profile, velocity=VELOCITY, measured=POSE):
    commander = ArmCommander(profile, LIMITS)
    command = Command(1, 0.0, POSE, velocity, np.zeros(6), 0.0, "run")
    return commander, commander.message(command, measured, HOME, 1000.0)


def test_a_trajectory_ends_at_rest_unless_the_profile_says_otherwise():
    _, message = message_of(profile_of())
    first, last = message["points"]
    np.testing.assert_allclose(first["positions"], HOME, atol=1e-6)
    assert np.abs(first["velocities"]).max() > 0.1
    assert not any(last["velocities"])
    seconds = seconds_of(last["time_from_start"]) - seconds_of(first["time_from_start"])
    way = np.array(last["positions"]) - first["positions"]
    np.testing.assert_allclose(way, 0.5 * seconds * np.array(first["velocities"]))  # an even deceleration
    _, message = message_of(profile_of(end="open"))
    assert ["velocities" in point for point in message["points"]] == [False]
    _, message = message_of(profile_of(end="moving"))
    assert len(message["points"]) == 1
    assert np.abs(message["points"][0]["velocities"]).max() > 0.1


@pytest.mark.parametrize("end", ["rest", "open", "moving"])
def test_newer_controllers_take_what_the_profile_sends(end):
    controller = SimulatedController(lambda: HOME, tuple(NAMES), LENGTH)
    _, message = message_of(profile_of(end=end))
    whole = {**message, "points": [{"velocities": [], **point} for point in message["points"]]}
    assert bool(controller.take_trajectory(whole)) == (end == "moving")
    older = SimulatedController(lambda: HOME, tuple(NAMES), LENGTH, moving_ends=True)
    assert older.take_trajectory(whole) == ""


def test_a_trajectory_is_followed_to_its_end():
    controller = SimulatedController(lambda: HOME, tuple(NAMES), LENGTH)
    controller.reset(POSE)
    _, message = message_of(profile_of())
    assert controller.take_trajectory(message) == ""
    way = [controller.step(0.005 * k, 0.005).copy() for k in range(1, 100)]
    end = tool_of_joints(np.array(message["points"][-1]["positions"]), LENGTH)
    np.testing.assert_allclose(way[-1], end, atol=1e-9)
    assert np.linalg.norm(np.diff(np.array(way)[:, :3], axis=0), axis=1).max() / 0.005 < 0.2


@pytest.mark.parametrize("period", [0.002, 0.005, 0.01])
def test_trajectories_one_after_the_other_are_one_motion(period):
    """Each begins with the state of the step that takes it up, so that no time is lost between them."""
    controller = SimulatedController(lambda: HOME, tuple(NAMES), LENGTH)
    controller.reset(POSE)
    goal, before, speed, way = POSE.copy(), HOME, 0.0, []
    for k in range(round(1.5 / period)):
        if k * period <= 1.0 and k % round(0.01 / period) == 0:
            speed = min(speed + 0.015, 0.25)
            goal[1] += 0.01 * speed
            at = joints_of_tool(goal, LENGTH, before)[0]
            points = trajectory(at, (at - before) / 0.01, 0.1, "rest", 20.0)
            before, message = at, {"joint_names": list(NAMES), "points": points}
            assert controller.take_trajectory(message) == ""
        way.append(controller.step(k * period, period)[1])
    speeds = np.diff(way) / period
    commanded = round(1.0 / period)
    assert speeds[commanded - 10 : commanded].mean() == pytest.approx(0.25, abs=0.01)
    assert speeds.max() < 0.26
    assert way[-1] - way[commanded] == pytest.approx(0.25 * (0.1 + 0.025), abs=0.003)


def test_a_controller_that_begins_at_the_measured_state_leaves_an_arm_behind():
    """What ros2_control's joint trajectory controller does unless ``interpolate_from_desired_state`` is set."""
    found = {}
    for from_desired in (True, False):
        joints = np.array(HOME, float)
        controller = SimulatedController(lambda: joints, tuple(NAMES), LENGTH, from_desired=from_desired)  # noqa: B023
        for k in range(200):
            if k < 100:
                at = HOME + np.eye(6)[0] * 0.005 * (k + 1)
                points = trajectory(at, np.eye(6)[0] * 0.5, 0.1, "rest", 20.0)
                assert controller.take_trajectory({"joint_names": list(NAMES), "points": points}) == ""
            controller.step(0.01 * k, 0.01)
            wanted = joints_of_tool(controller.target, LENGTH, joints)[0]
            joints = joints + (wanted - joints) * 0.3  # an arm that is some 30 ms late
            found[from_desired, k] = joints[0] - HOME[0]
    assert 0.5 - found[True, 99] < 0.5 * 0.15
    assert 0.5 - found[False, 99] > 0.2
    assert max(found[False, k + 1] - found[False, k] for k in range(99, 199)) > 3 * 0.005  # and then it leaps


def test_joints_without_servo():
    """Bare numbers in the profile's order, through this project's kinematics."""
    profile = profile_of("forward")
    commander, message = message_of(profile)
    np.testing.assert_allclose(message["data"], HOME, atol=1e-6)
    assert commander.rest(0.0) is None  # a place is kept
    profile = profile_of("forward", kind="joint_velocity", gain=2.0)
    commander, message = message_of(profile)
    after = joints_of_tool(POSE + 0.01 * VELOCITY, LENGTH, HOME)[0]
    np.testing.assert_allclose(message["data"], (after - HOME) / 0.01, atol=1e-6)
    behind = POSE - [0.01, 0, 0, 0, 0, 0]
    _, more = message_of(profile, measured=behind)
    way = HOME - joints_of_tool(behind, LENGTH, HOME)[0]
    np.testing.assert_allclose(np.subtract(more["data"], message["data"]), 2.0 * way, atol=1e-6)
    _, fast = message_of(profile, 100.0 * VELOCITY)
    assert np.abs(fast["data"]).max() == profile.guard.joint_limits["velocity"]
    assert commander.rest(0.0) == {"data": [0.0] * 6}


def test_places_beyond_the_limits_of_the_joints_are_said_and_not_sent():
    profile = profile_of("forward")
    tight = {**profile.guard.joint_limits, "low": -2.0, "high": 1.7}
    commander, message = message_of(replace(profile, guard=replace(profile.guard, joint_limits=tight)))
    assert commander.unreachable
    assert max(message["data"]) <= 1.7
    assert min(message["data"]) >= -2.0


@pytest.mark.parametrize("kind", ["joint_position", "joint_velocity"])
def test_the_guard_checks_bare_numbers(kind):
    profile = profile_of("forward", kind=kind)
    guard = Guard(guard_settings(profile, LIMITS, "always"))
    for k in range(5):
        guard.hear_joints({"name": list(NAMES)[::-1], "position": HOME[::-1].tolist()}, 1.0 + 0.02 * k)
    good = HOME if kind == "joint_position" else np.array([0.3] + [0.0] * 5)
    wrong = {
        "a number for each": [0.0] * 5,
        "is not a number": [float("nan")] + [0.0] * 5,
        "beyond the joints' limits" if kind == "joint_position" else "faster than the limits": [7.0] + [0.0] * 5,
        "from the arm" if kind == "joint_position" else "begins faster": (good + 0.65).tolist(),
    }
    for cause, numbers in wrong.items():
        assert guard.command({"data": numbers}, 1.1) is None
        assert cause in guard.refusal
    assert guard.command({"data": good.tolist()}, 1.1)
    if kind == "joint_velocity":
        near = np.array([6.2, *HOME[1:]])
        for k in range(5):
            guard.hear_joints({"name": list(NAMES), "position": near.tolist()}, 1.1 + 0.01 * k)
        assert guard.command({"data": good.tolist()}, 1.15) is None
        assert "beyond the joints' limits" in guard.refusal
        assert guard.command({"data": (-good).tolist()}, 1.16)
    else:
        assert guard.command({"data": (good + 0.3).tolist()}, 1.12) is None
        assert "leaps" in guard.refusal


def test_a_velocity_counts_until_the_controller_s_time_out():
    for timeout, way in ((0.1, 0.025), (0.0, 0.25)):
        controller = SimulatedController(lambda: HOME, tuple(NAMES), LENGTH, timeout)
        controller.reset(POSE)
        controller.take_twist(np.array([0.0, 0.25, 0.0, 0.0, 0.0, 0.0]), 0.0)
        for k in range(1, 201):
            controller.step(0.005 * k, 0.005)
        assert controller.target[1] - POSE[1] == pytest.approx(way, abs=0.0015)
        turning = SimulatedController(lambda: HOME, tuple(NAMES), LENGTH, timeout)
        assert turning.take_joint_speeds([0.5] + [0.0] * 5, 0.0) == ""
        for k in range(1, 41):
            turning.step(0.005 * k, 0.005)
        turned = HOME + np.eye(6)[0] * (0.05 if timeout else 0.1)
        np.testing.assert_allclose(turning.target, tool_of_joints(turned, LENGTH), atol=0.002)


@pytest.mark.parametrize("kind", ["twist", "trajectory", "joint_position", "joint_velocity"])
def test_the_simulated_robot_takes_every_kind(kind):
    env = BlocksEnv("put-block-into-matching-bowl", control="ee", control_hz=100, cameras={})
    node = LocalTransport(InProcessRos())
    robot = SimulatedRosRobot(env, node, 1, controller_timeout=0.0)
    topics = {
        "twist": "tool_twist",
        "trajectory": "joint_trajectory",
        "joint_position": "joint_positions",
        "joint_velocity": "joint_velocities",
    }
    start = robot.env.observe_state()[:6].astype(float)
    joints = np.array(robot.env.simulation.joints)
    profile = profile_of("forward", kind=kind, topic=f"/sim/{topics[kind]}")
    commander = ArmCommander(profile, LIMITS)
    goal = np.add(start, [0.0, 0.03, 0.0, 0.0, 0.0, 0.0])
    velocity = np.array([0.0, 0.1, 0.0, 0.0, 0.0, 0.0]) if kind in ("twist", "joint_velocity") else np.zeros(6)
    measured = start if kind == "twist" else goal
    message = commander.message(Command(1, 0.0, goal, velocity, np.zeros(6), 0.0, "run"), measured, joints, 1.0)
    node.advertise(f"/sim/{topics[kind]}", COMMANDS[kind])
    node.publish(f"/sim/{topics[kind]}", message)
    for _ in range(400):
        robot.tick()
        if robot.env.observe_state()[1] - start[1] > 0.02:
            break
    assert robot.env.observe_state()[1] - start[1] > 0.02


class ServoOfTool0:
    """MoveIt Servo on a tool: it moves ``tool0``, whose tip is at ``offset``, in steps of 10 ms."""

    def __init__(self, place, offset):
        self.tool0, self.offset = pose_at_offset(place, inverse_offset(offset)), offset

    @property
    def tip(self):
        return pose_at_offset(self.tool0, self.offset)

    def take(self, message):
        linear, angular = ([message["twist"][part][axis] for axis in "xyz"] for part in ("linear", "angular"))
        turned = turned_by(0.01 * np.array(angular), self.tool0[3:])
        self.tool0 = np.concatenate([self.tool0[:3] + 0.01 * np.array(linear), turned])


# The pendant's TCP is zero, and the offset holds the length; or it is the tip, and Servo moves tool0 all the same.
DOWN = [2.221441469, -2.221441469, 0.0]
WHOLE = {"position": [0.0, 0.0, 0.13], "rotation": DOWN}
ROTATED = {"position": [0.0, 0.0, 0.0], "rotation": DOWN}


@pytest.mark.parametrize(("tool", "command"), [(WHOLE, None), (ROTATED, WHOLE)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_tool_that_turns_turns_about_its_tip(tool, command, axis):
    profile = profile_of("ur5e", offset=command, gain=0.5)
    profile = replace(profile, tool={**profile.tool, "offset": tool})
    start = np.array([0.5, 0.1, 0.2, 0.1, -0.2, 0.0])
    servo, commander = ServoOfTool0(start, offset_of(WHOLE)), ArmCommander(profile, LIMITS)
    guard = Guard(guard_settings(profile, LIMITS, "always"))
    turn, pose, told = 0.5 * np.eye(3)[axis], start.copy(), []
    for k in range(200):
        now = 1.0 + 0.01 * k
        guard.hear_tool({"pose": pose_message(pose_at_offset(servo.tip, inverse_offset(offset_of(tool))))}, now)
        if k < 100:
            turned = min(k / 20, 1.0) * turn
            pose[3:] = turned_by(0.01 * turned, pose[3:])
            velocity = np.concatenate([np.zeros(3), turned])
            message = commander.message(Command(k, now, pose, velocity, np.zeros(6), 0.0, "run"), servo.tip, HOME, now)
            assert guard.command(message, now) is message, guard.refusal
        else:
            message = guard.tick(now)  # the client is dead: said again, then braked
        if message is not None:
            told.append(message)
            servo.take(message)
        assert np.linalg.norm(servo.tip[:3] - start[:3]) < 0.001, k
    assert np.linalg.norm(turned_by(servo.tip[3:], -start[3:])) > 0.4
    assert not any(told[-1]["twist"]["linear"].values())
    assert guard.state == "idle"
