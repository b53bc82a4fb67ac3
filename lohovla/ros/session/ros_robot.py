"""A ROS robot as the control loop drives it."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from lohovla.control.event_log import EventLog
from lohovla.control.motion_limits import MotionLimits
from lohovla.control.safety.command_receiver import Command
from lohovla.control.settings import LoopSettings
from lohovla.control.simulated_robots import TimedObservation, seen_from_above
from lohovla.ros.guard.guard import COMMAND, GRIPPER
from lohovla.ros.guard.guard_status import GuardStatus
from lohovla.ros.robot.arm_commands import ArmCommander
from lohovla.ros.robot.arm_status import ArmStatus
from lohovla.ros.robot.gripper_commands import GripperCommander
from lohovla.ros.robot.joint_states import JointStates
from lohovla.ros.robot.joint_trajectories import COMMANDS
from lohovla.ros.robot.pose_conversion import BadPose, pose_at_offset, pose_of
from lohovla.ros.robot.robot_profile import GRIPPER_STATES, Profile
from lohovla.ros.robot.state_history import StateHistory
from lohovla.ros.robot.ur5e_tool_pose import tool_of_joints
from lohovla.ros.sim.sim_state_mirror import SimStateMirror, stamp_and_seed
from lohovla.ros.transport.message_types import BadMessage, Message
from lohovla.ros.transport.subscriptions import Subscriptions
from lohovla.ros.transport.time_sync import ClockOffset
from lohovla.ros.vision.camera_pipeline import CameraPipeline

_STILL_SENT = 0.5  # s that commands go on after the arm has come to rest, so that none of the last is missed
_GRIPPER_AGAIN = 0.5  # s after which an unchanged gripper command is said again


class RosRobot:
    """Hears a robot and commands it.

    Args:
        transport: to ROS.
        profile: of the robot.
        limits: of the tool.
        instruction: the goal sentence.
        size: width and height of the policy's top view, pixels.
        mirror: rebuilds the true state, where a simulator tells it.
        dry: whether commands are made and counted, but not sent.
        clock: maps the robot's stamps; None takes one that only runs apart as clocks do.
    """

    reward, ended = 0.0, False

    def __init__(
        self,
        transport: Any,
        profile: Profile,
        limits: MotionLimits,
        instruction: str,
        size: tuple[int, int] = (320, 160),
        mirror: SimStateMirror | None = None,
        dry: bool = False,
        clock: Any = None,
    ):
        self.transport, self.profile, self.instruction, self.dry = transport, profile, instruction, dry
        self.limits = limits
        self.clock, self.mirror = clock or ClockOffset(), mirror
        self.feeds = Subscriptions(transport, self.clock, arrival=profile.stamps == "arrival")
        self._commander = ArmCommander(profile, limits)
        self._hear()
        self.eyes = CameraPipeline(profile, self.feeds, size)
        self.sight = {"images.top": seen_from_above(float(profile.tool["length"]))}
        self.guard: GuardStatus | None = None
        self._topic, self._hand = profile.command["topic"], GripperCommander(transport, profile.gripper)
        if profile.guard.use:
            self.guard = GuardStatus(transport)
            self._topic, self._hand = COMMAND, GripperCommander(transport, {"kind": "number", "topic": GRIPPER})
        if not dry:
            transport.advertise(self._topic, COMMANDS[profile.command["kind"]])
            self._hand.advertise()
        self.sent, self.refused, self.last_message = 0, 0, None
        self.allowed = False  # whether the session lets commands go out
        self._moved, self._gripper, self._history = -math.inf, (0.0, -math.inf), StateHistory()
        self._log: EventLog | None = None

    def _hear(self) -> None:
        profile = self.profile
        self._joint_feed = self._tool = self._gripper_feed = self._world = None
        self._joints, self._last_joints, self._last_pose = JointStates(), None, None
        self._last_joints: np.ndarray | None
        self._last_pose: np.ndarray | None
        if profile.joints.get("topic"):
            hear = self._joints.take
            self._joint_feed = self.feeds.subscribe(profile.joints["topic"], "sensor_msgs/JointState", each=hear)
        if profile.tool.get("topic"):
            self._tool = self.feeds.subscribe(profile.tool["topic"], "geometry_msgs/PoseStamped")
        kind = GRIPPER_STATES[profile.gripper_state["kind"]]
        if kind:
            self._gripper_feed = self.feeds.subscribe(profile.gripper_state["topic"], kind)
        self.status = ArmStatus(self.transport, profile.status)
        if profile.world and self.mirror is not None:
            self._world = self.feeds.subscribe(profile.world, "std_msgs/Float64MultiArray")

    # -- what is known -------------------------------------------------------------------------------------

    def state_fault(self, now: float) -> str:
        """What of the arm's own state is missing, too old, not a number or in another frame, by name; or ""."""
        fresh = self.profile.max_age
        for feed in (self._joint_feed, self._tool, self._world):
            if feed is not None and (feed is not self._joint_feed or feed.newest is None):
                age = feed.age(now)
                if age > fresh.state:
                    return f"{feed.topic}: {'nothing has come' if math.isinf(age) else f'{age:.2f} s old'}"
        if self._joint_feed is not None and (cause := self._joint_fault(now)):
            return f"{self._joint_feed.topic}: {cause}"
        return self._tool_fault()

    def _joint_fault(self, now: float) -> str:
        """Of the arm's joints, and of the gripper's own, whose drivers are slower."""
        fresh, state = self.profile.max_age, self.profile.gripper_state
        fingers = [state["topic"]] if state["kind"] == "joint" else []
        arm = self._joints.fault(self.profile.joints["names"], now, fresh.state)
        return arm or self._joints.fault(fingers, now, max(fresh.gripper, fresh.state))

    def _tool_fault(self) -> str:
        """Why the pose that the robot tells of its tool is not to be used, or ""."""
        if self._tool is None or self._tool.newest is None:
            return ""
        message = self._tool.newest.message
        frame = message["header"]["frame_id"].lstrip("/")
        if frame and frame != self.profile.frame.lstrip("/"):
            return f"{self._tool.topic} is in the frame {frame!r}, the profile's frame is {self.profile.frame!r}"
        try:
            pose_of(message["pose"])
        except BadPose as error:
            return f"{self._tool.topic}: {error}"
        return ""

    def joints(self) -> np.ndarray | None:
        """Joint positions (6,), rad, found by their names; None where one is not known."""
        return self._joints.positions(self.profile.joints["names"])

    def measured(self) -> np.ndarray | None:
        """The tool's pose (6,) as the robot tells it, or by its joints; None while that is not known."""
        if self._tool is None:
            joints = self.joints()
            return None if joints is None else tool_of_joints(joints, float(self.profile.tool["length"]))
        if self._tool.newest is None or self._tool_fault():
            return None
        return pose_at_offset(pose_of(self._tool.newest.message["pose"]), self.profile.tool_offset)

    def pose(self) -> np.ndarray:
        """The tool's pose (6,); the last that was known, until the session has noticed that it is lost."""
        measured = self.measured()
        self._last_pose = self._last_pose if measured is None else measured
        assert self._last_pose is not None, "the session waits until it is known"
        return self._last_pose

    def gripper(self) -> float:
        """How far the gripper is closed, 0 to 1; what was commanded where it does not tell."""
        told = self._gripper_told()
        if told is None:
            return self._gripper[0]
        low, high = (float(self.profile.gripper_state.get(key, d)) for key, d in (("open", 0.0), ("closed", 1.0)))
        return float(np.clip((told - low) / (high - low), 0.0, 1.0)) if high != low else 0.0

    def _gripper_told(self) -> float | None:
        if self.profile.gripper_state["kind"] == "joint":
            told = self._joints.positions([self.profile.gripper_state["topic"]])
            return None if told is None else float(told[0])
        if self._gripper_feed is None or self._gripper_feed.newest is None:
            return None
        data = self._gripper_feed.newest.message["data"]
        return None if data is None or not math.isfinite(data) else float(data)

    def guard_refusal(self, now: float) -> str:
        """What the guard has against its commands, as the end of a sentence, or ""."""
        guard = self.guard
        if guard is None or self.dry:
            return ""
        cause = guard.refuses or str(guard.said.get("waits_for", "")) or (guard.cause if guard.braking else "")
        return f": the guard says {cause}" if cause else ""

    # -- as the loop's robot -------------------------------------------------------------------------------

    def start(self, now: float, settings: LoopSettings, log: EventLog) -> None:
        self._log, self.ended = log, False
        self._commander.reset()

    def advance(self, now: float) -> None:
        """A real robot moves by itself; what it was at any moment is kept."""
        if self.measured() is not None:
            self._remember()

    @property
    def told_at(self) -> float:
        """When the tool's newest pose was taken, s on the loop's clock; minus infinity before the first."""
        told = self._tool or self._joint_feed
        return -math.inf if told is None or told.newest is None else told.newest.taken

    def _remember(self) -> None:
        if not math.isinf(self.told_at):
            self._history.add(self.told_at, self.state())

    def command(self, command: Command, now: float) -> None:
        """Send a command if the arm may move, and while it comes to rest."""
        if self.allowed or np.abs(command.velocity).max() > 1e-9:
            self._moved = now
        if now - self._moved > _STILL_SENT:
            self._commander.reset()
            return
        # A brake needs no pose: it must go on when that is what was lost, and not run after an old one.
        measured = self.measured() if self.allowed else None
        measured = command.pose if measured is None else measured
        try:
            self._send(self._commander.message(command, measured, self.joints(), self._stamp(now)))
            self._drive_gripper(command, now)
            fault = ""
        except (BadMessage, ValueError) as error:
            self.refused += 1
            fault = str(error)
        if self._log is not None:
            self._log.set_condition(now, "refused command", bool(fault), fault)
            self._log.set_condition(
                now, "unreachable", self._commander.unreachable, "the arm does not reach the commanded pose"
            )

    def rest(self) -> None:
        """Whatever the arm was last told to do, tell it to stand still: at the end of a run, however it ended."""
        self.allowed = False
        message = self._commander.rest(self._stamp(time.monotonic())) if self.sent else None
        if message is not None:
            self._send(message)
        self._commander.reset()

    def _stamp(self, now: float) -> float:
        return self.clock.remote(now) if self.clock.known else time.time()

    def _send(self, message: Message) -> None:
        self.sent += 1
        self.last_message = self._topic, message
        if not self.dry:
            self.transport.publish(self._topic, message, newest=True)

    def _drive_gripper(self, command: Command, now: float) -> None:
        """Only while the arm may move: an emergency stop must not drop what is held."""
        if not self.allowed:
            return
        value, said = self._gripper
        if abs(command.gripper - value) > 1e-3 or now - said > _GRIPPER_AGAIN:
            self._gripper = command.gripper, now
            self.sent += 1
            if not self.dry:
                self._hand.send(command.gripper)

    def observe(self, now: float, world: bool) -> TimedObservation:
        """Pictures, and the arm as it was when the oldest of them was taken: pictures take longer to come."""
        sight = self.eyes.sight
        state = self.state()
        observation = {"state": state.astype(np.float32), "instruction": self.instruction, **sight.pictures}
        stamps, taken = dict(sight.stamps), now
        true = None
        if world and self._world is not None and self._world.newest is not None and self.mirror is not None:
            numbers = self._world.newest.message["data"]
            true = self.mirror.follow(numbers)
            taken = min(self.clock.local(stamp_and_seed(numbers)[0]), now)
            tool = self.mirror.env.observe_state()
            observation["state"] = tool
        elif stamps:
            taken = min(min(stamps.values()), now)
            self._remember()
            observation["state"] = self._history.state_at(taken).astype(np.float32)
        return TimedObservation(observation, taken, stamps, true)

    def state(self) -> np.ndarray:
        """Proprioception (13,) as it was told last: the tool's pose, the gripper, the joints."""
        return np.concatenate([self.pose(), [self.gripper()], self._all_joints()])

    def _all_joints(self) -> np.ndarray:
        """Joint positions (6,); the last that were known, until the session has noticed that they are lost.

        Zeros only on a robot whose profile says that it tells no joints.
        """
        if self._joint_feed is None:
            return np.zeros(6)
        joints = self.joints()
        self._last_joints = self._last_joints if joints is None else joints
        assert self._last_joints is not None, "the session waits until they are known"
        return self._last_joints
