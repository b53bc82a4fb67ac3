"""No guard makes an arm move that has stopped: against a model of the controllers, which halt by themselves."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from lohovla.control.motion_limits import MotionLimits
from lohovla.envs.scene.arm import HOME
from lohovla.envs.scene.arm import JOINTS as NAMES
from lohovla.ros.guard.guard import Guard, GuardSettings
from lohovla.ros.robot.joint_trajectories import trajectory
from lohovla.ros.robot.pose_conversion import pose_message, pose_of
from lohovla.ros.robot.ur5e_tool_pose import joints_of_tool, tool_of_joints
from lohovla.ros.sim.simulated_controllers import SimulatedController
from lohovla.ros.transport.message_types import header

LENGTH, STEP, SPEED = 0.13, 0.005, 0.25
LIMITS = MotionLimits((0.1, -0.6, 0.0), (0.9, 0.6, 0.6), 0.3, 1.5, 20.0, 1.0, 6.0, 120.0)
SETTINGS = GuardSettings(
    "pose",
    "/target",
    {"kind": "number", "topic": "/hand"},
    "base",
    "/tool",
    "/joints",
    tuple(NAMES),
    asdict(LIMITS),
    joint_limits={"velocity": 2.0, "acceleration": 8.0, "jerk": 120.0, "low": -6.3, "high": 6.3},
    enable="always",
    hz=100.0,
    ttl=0.1,
    controller_timeout=0.1,
)
KINDS = ("pose", "twist", "trajectory", "joint_position", "joint_velocity")


class Rig:
    """A client that goes along y, a guard, a controller, and an arm that is a little late, in steps of 5 ms."""

    def __init__(self, settings, end="rest", lag=0.03, from_desired=True):
        self.settings, self.guard = replace(settings, end=end), Guard(replace(settings, end=end))
        self.controller = SimulatedController(
            lambda: self.joints, tuple(NAMES), LENGTH, settings.controller_timeout, from_desired=from_desired
        )
        self.place = tool_of_joints(HOME, LENGTH)
        self.controller.reset(self.place)
        self.goal, self.aim, self.velocity = self.place.copy(), HOME.copy(), 0.0
        self.lag, self.now, self.count, self.speeds, self.sent = lag, 50.0, 0, [], []
        self.client, self.asleep, self.stuck, self.scale = True, False, False, 1.0

    @property
    def joints(self):
        return joints_of_tool(self.place, LENGTH, HOME)[0]

    def command(self):
        """As the bridge makes it, faster and faster until it goes at full speed."""
        period, kind = 2 * STEP, self.settings.kind
        self.velocity = min(self.velocity + 1.5 * period, SPEED)
        before = self.aim
        self.goal[1] += self.velocity * period
        self.aim = joints_of_tool(self.goal, LENGTH, before)[0]
        speed = (self.aim - before) / period
        if kind == "pose":
            return {"header": header(self.now, "base"), "pose": pose_message(self.goal)}
        if kind == "twist":
            still = dict.fromkeys("xyz", 0.0)
            return {
                "header": header(self.now, "base"),
                "twist": {"linear": {**still, "y": self.velocity}, "angular": still},
            }
        if kind == "trajectory":
            points = trajectory(self.aim, speed, 0.1, self.settings.end, 8.0)
            whole = [{"velocities": [], **point} for point in points]
            return {"header": header(0.0), "joint_names": list(NAMES), "points": whole}
        return {"data": (self.aim if kind == "joint_position" else speed).tolist()}

    def take(self, message):
        """As the controller takes it."""
        self.sent.append((self.now, message))
        kind = self.settings.kind
        if kind == "pose":
            self.controller.take_pose(pose_of(message["pose"]))
        elif kind == "twist":
            rows = [[message["twist"][part][axis] for axis in "xyz"] for part in ("linear", "angular")]
            self.controller.take_twist(self.scale * np.concatenate(rows), self.now)
        elif kind == "trajectory":
            whole = {**message, "points": [{"velocities": [], **point} for point in message["points"]]}
            assert self.controller.take_trajectory(whole) == ""
        elif kind == "joint_position":
            self.controller.take_joints(message["data"])
        else:
            self.controller.take_joint_speeds((self.scale * np.array(message["data"])).tolist(), self.now)

    def step(self):
        self.now, self.count = self.now + STEP, self.count + 1
        target, before = self.controller.step(self.now, STEP), self.place
        if not self.stuck:
            self.place = self.place + (target - self.place) * min(STEP / self.lag, 1.0)
        self.speeds.append(float(np.linalg.norm((self.place - before)[:3]) / STEP))
        if self.asleep:
            return
        self.guard.hear_tool({"pose": pose_message(self.place)}, self.now)
        self.guard.hear_joints({"name": list(NAMES), "position": self.joints.tolist()}, self.now)
        if self.client and self.count % 2:
            passed = self.guard.command(self.command(), self.now)
            if passed is not None:
                self.take(passed)
        elif self.count % 2 == 0:
            message = self.guard.tick(self.now)
            if message is not None:
                self.take(message)

    def steps(self, seconds):
        for _ in range(round(seconds / STEP)):
            self.step()

    def glide(self):
        self.steps(0.8)
        assert self.guard.state == "relaying", self.guard.events
        assert self.speeds[-1] > 0.9 * SPEED * self.scale
        return self


def assert_only_slower(speeds, slack=0.02):
    """It never goes faster than it went before by more than noise, and never again once it stood."""
    speeds = np.array(speeds)
    even = (speeds[1:] + speeds[:-1]) / 2  # places come with every other step
    assert (even <= np.minimum.accumulate(even) + slack).all()
    rested = np.flatnonzero(speeds < 1e-4)
    assert len(rested), "it comes to rest"
    assert (speeds[rested[0] :] < 1e-3).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("asleep", [(0.0, 0.0), (0.0, 0.15), (0.0, 0.6), (0.05, 0.3), (0.13, 0.4), (0.2, 0.25)])
def test_a_silent_client_s_arm_stops_once(kind, asleep):
    """Whether the guard is awake, or sleeps for a while right then, before its brake or in the middle of it."""
    rig = Rig(replace(SETTINGS, kind=kind)).glide()
    rig.client, until = False, len(rig.speeds)
    rig.steps(asleep[0])
    rig.asleep = True
    rig.steps(asleep[1])
    rig.asleep = False
    rig.steps(2.0)
    assert_only_slower(rig.speeds[until:])
    assert rig.guard.state == "idle"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", ["rest", "open"])
def test_a_stop_while_commands_come_is_smooth_and_once(kind, end):
    rig = Rig(replace(SETTINGS, kind=kind), end).glide()
    until = len(rig.speeds)
    rig.guard.hear_emergency(True, rig.now)
    rig.steps(2.0)
    speeds = np.array(rig.speeds[until:])
    assert_only_slower(speeds, 0.04)
    assert speeds[10] > 0.1 * SPEED, "it brakes, and does not halt"


@pytest.mark.parametrize("kind", ["twist", "joint_velocity"])
def test_a_brake_begins_with_the_speed_that_the_arm_has(kind):
    """The pendant's speed slider is at 40 %; it may be pushed up while the guard brakes."""
    rig = Rig(replace(SETTINGS, kind=kind))
    rig.scale = 0.4
    rig.glide()
    rig.guard.hear_emergency(True, rig.now)
    rig.scale, until = 1.0, len(rig.speeds)
    rig.steps(1.0)
    assert_only_slower(rig.speeds[until:])


@pytest.mark.parametrize("kind", KINDS)
def test_an_arm_that_the_robot_stopped_stays_where_it_is(kind):
    """A protective stop: the controller goes on, the arm does not, and may be released while the guard brakes."""
    rig = Rig(replace(SETTINGS, kind=kind)).glide()
    rig.stuck = True
    rig.steps(0.1)
    rig.guard.hear_emergency(True, rig.now)
    rig.steps(0.03)
    stands = rig.place.copy()
    rig.controller.reset(stands)  # what stopped the arm has the controller begin where it is
    rig.sent.clear()
    rig.stuck = False
    rig.steps(1.0)
    way = float(np.linalg.norm(rig.place[:3] - stands[:3]))
    assert way < 0.03 if kind in ("pose", "joint_position", "trajectory") else way < 0.002


def test_servo_halts_no_twist_while_it_counts():
    """What the time-out of the controller did to the guard of before: halt, lurch at the old speed, halt."""
    rig = Rig(replace(SETTINGS, kind="twist", ttl=0.09)).glide()
    rig.client, rig.sent, silent = False, [], rig.now
    rig.steps(1.0)
    gaps = np.diff([silent, *(when for when, _ in rig.sent)])
    assert gaps.max() <= 0.03
    said = np.array([message["twist"]["linear"]["y"] for _, message in rig.sent])
    at = np.array([when for when, _ in rig.sent]) - silent
    assert (said[at < 0.08] == SPEED).all()
    assert (np.diff(said) <= 1e-9).all()
    assert said[-1] == 0.0
    way = np.sum(rig.speeds[-round(1.0 / STEP) :]) * STEP
    assert way < 0.25 * 0.1 + 0.25**2 / 3.0 + 0.25 * 0.04 + 0.25 * rig.lag


@pytest.mark.parametrize("ttl", [0.2, 0.3])
def test_a_time_to_live_beyond_the_controller_s_does_no_harm_either(ttl):
    rig = Rig(replace(SETTINGS, kind="twist", ttl=ttl)).glide()
    rig.client, until = False, len(rig.speeds)
    rig.steps(2.0)
    assert_only_slower(rig.speeds[until:])


def test_a_client_that_wakes_up_does_not_drive_a_halted_arm_on():
    """Its commands waited while the guard slept; the arm has halted meanwhile."""
    rig = Rig(replace(SETTINGS, kind="twist")).glide()
    rig.asleep = True
    rig.steps(0.3)
    rig.asleep, until = False, len(rig.speeds)
    rig.steps(0.2)
    assert max(rig.speeds[until + 2 :]) < 0.01
    assert rig.guard.state in ("braking", "stopped")


@pytest.mark.parametrize("kind", ["twist", "joint_velocity"])
def test_the_first_velocity_is_one_that_the_arm_can_have(kind):
    rig = Rig(replace(SETTINGS, kind=kind))
    rig.client = False
    rig.steps(0.2)
    rig.velocity = SPEED + 0.05
    if kind == "twist":
        fast = rig.command()
        fast["twist"]["linear"]["y"] = 0.37
    else:
        fast = {"data": [1.9] + [0.0] * 5}
    assert rig.guard.command(fast, rig.now) is None
    assert "begins faster" in rig.guard.events[-1].cause


@pytest.mark.parametrize("end", ["rest", "open"])
def test_the_arm_of_a_dead_client_s_trajectories_goes_no_farther_than_it_lags(end):
    rig = Rig(replace(SETTINGS, kind="trajectory"), end).glide()
    rig.client, until = False, len(rig.speeds)
    rig.steps(1.0)
    after = np.array(rig.speeds[until:])
    assert after.max() < SPEED + 0.01
    assert (
        after.sum() * STEP < SPEED * (SETTINGS.lookahead + rig.lag + 0.025) + 0.002
    )  # and half of the 0.05 s to its end


@pytest.mark.parametrize("seconds", np.arange(0.1, 1.0, 0.1).round(1).tolist())
def test_an_arm_far_behind_its_trajectories_is_stopped_before_it_catches_up(seconds):
    """A controller that begins every trajectory at the measured state never lets an arm that lags get under way.

    Its commands run away from it, and when they end it goes after them: 0.2 m at up to 2 m/s without the guard.
    """
    rig = Rig(replace(SETTINGS, kind="trajectory", ttl=0.2), from_desired=False)
    rig.steps(seconds)
    rig.client, until = False, len(rig.speeds)
    rig.steps(2.0)
    assert np.array(rig.speeds[until:]).sum() * STEP < 0.085
    assert rig.guard.state == "idle"
    if seconds > 0.5:
        assert "does not follow" in rig.guard.cause


@pytest.mark.parametrize("kind", ["pose", "joint_position", "trajectory"])
def test_an_arm_that_is_not_where_it_is_sent_is_not_sent_farther(kind):
    rig = Rig(replace(SETTINGS, kind=kind)).glide()
    rig.stuck = True
    rig.steps(0.8)
    assert rig.guard.state in ("stopped", "idle")
    assert "does not follow" in next(event.cause for event in rig.guard.events if event.kind == "brake")
    rig.stuck, stands = False, rig.place.copy()
    rig.steps(0.5)
    assert np.linalg.norm((rig.place - stands)[:3]) < 0.002
