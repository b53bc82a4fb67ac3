"""The guard on the robot's side: lets commands pass while all is well, and brakes the arm when they cease.

When a client dies, the controller keeps executing its last command. The guard is the node between the bridge and the
robot's controllers. It changes no command: one that is sound is passed on at once, any other is refused. A velocity is
repeated while it counts, so that a controller with a time-out of its own does not halt the arm before that.
When none came for the time to live, the enable is let go, the arm's state is lost or somebody presses the emergency
stop, it brings the arm to rest from the speed that it really has, within limits of acceleration and jerk. It never
makes an arm move that has stopped: where a silent client's arm stops by itself, it is left alone. This module is the
logic, without ROS and without a clock; ``command_monitors`` and ``joint_monitors`` know the
kinds of commands, :mod:`lohovla.ros.guard.guard_node` the topics.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from lohovla.ros.guard.joint_monitors import MONITORS
from lohovla.ros.transport.message_types import Message, seconds_of
from lohovla.ros.transport.time_sync import ClockOffset

COMMAND, GRIPPER, STATE = "/lohovla/guarded/command", "/lohovla/guarded/gripper", "/lohovla/guard"
_KEPT = 200  # events
_SETTLE = 0.3  # s that the arm is told to rest before the guard falls silent
_SLOWEST = 10.0  # s after which a brake counts as done, whatever its sums say
_AGAIN = 1.5  # periods after which a velocity is said again
_SILENT = 3.0  # periods without a command after which an arm that keeps its place comes to rest by itself
_REFUSING = 5  # commands refused one after the other: none passes
_REFUSING_FOR = 1.0  # s that this is said after the last of them, so that a client sees it and may then try again
_QUIET = 5.0  # s without a thing until it is news again


@dataclass(frozen=True)
class GuardSettings:
    """What the guard knows of a robot; plain values, so that they travel as JSON.

    Attributes:
        kind: of commands: pose, twist, trajectory, joint_position or joint_velocity.
        topic: of the controller.
        gripper: as in the robot's profile.
        frame: in which commands are given.
        tool: topic of the tool's pose, or "".
        offset: ``{position, rotation}`` of the tool's tip in the frame on that topic.
        moved: the same in the frame that the controller moves: what poses and twists are of; None: as ``offset``.
        joints: topic of the joint states, or "".
        names: of the joints, in the order in which the controller takes bare numbers.
        hz: commands a second while it brakes, and while it says a velocity again.
        ttl: s that a command counts.
        controller_timeout: s without a command after which the controller halts the arm itself; 0 where it never does.
        brake: how many times the limits of acceleration and jerk it brakes with.
        enable: ``topic``, or ``always`` for simulators.
        enable_timeout: s that an enable holds.
        state_timeout: s that the arm's state may be old.
        limits: ``low`` and ``high`` of the tip, m; ``velocity``, ``acceleration``, ``jerk``, ``turn_velocity``,
            ``turn_acceleration``, ``turn_jerk``, as in the control loop.
        joint_limits: ``velocity`` (rad/s), ``acceleration``, ``jerk``, ``low``, ``high`` (rad): of commands of joints.
        speed_tolerance: how many times the limits of speed a command may have: the client keeps them, the guard
            catches it if it does not.
        max_first_jump: m; a first command farther from the arm is refused.
        lookahead: s from a trajectory to its point.
        end: of a trajectory, one of :data:`lohovla.ros.robot.joint_trajectories.ENDS`.
    """

    kind: str
    topic: str
    gripper: Mapping[str, Any]
    frame: str
    tool: str
    joints: str
    names: tuple[str, ...]
    limits: Mapping[str, Any]
    offset: Mapping[str, Any] = field(default_factory=dict)
    moved: Mapping[str, Any] | None = None
    joint_limits: Mapping[str, float] = field(default_factory=dict)
    hz: float = 50.0
    ttl: float = 0.2
    enable: str = "topic"
    enable_timeout: float = 0.5
    state_timeout: float = 0.2
    speed_tolerance: float = 1.25
    max_first_jump: float = 0.05
    lookahead: float = 0.1
    end: str = "rest"
    controller_timeout: float = 0.0
    brake: float = 1.0

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> GuardSettings:
        """From JSON."""
        return cls(**{**values, "names": tuple(values["names"])})

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "names": list(self.names)}


class GuardEvent(NamedTuple):
    """Something that the guard noticed: when (s on its own clock), what kind, the particulars."""

    time: float
    kind: str
    cause: str


class Guard:
    """Decides which commands pass, and what the arm is told when they do not. Times are s on one monotonic clock.

    Attributes:
        state: ``idle`` (at rest, nothing passes), ``relaying``, ``braking`` or ``stopped`` (braked, resting a moment).
        cause: why it last braked.
        active: whether it is to guard; a node that is managed is switched on and off.
        passed: commands that passed.
        refused: commands that did not.
        events: the newest that happened.
    """

    def __init__(self, settings: GuardSettings):
        self.settings = settings
        self._path: Any = MONITORS[settings.kind](settings)
        self.state, self.cause, self.active = "idle", "", True
        self.passed = self.refused = 0
        self.events: deque[GuardEvent] = deque(maxlen=_KEPT)
        self._enabled = self._let_go = self._heard = self._sent = -math.inf
        self._news: list[GuardEvent] = []
        self._emergency = {"button": "", "bridge": "", "guard": ""}
        self._clock, self._stamp = ClockOffset(), 0.0
        self._braking_since = self._resting_since = 0.0
        self._refusing: tuple[int, str, float] = 0, "", -math.inf  # how many in a row, why the last, and when
        self._noted: dict[tuple[str, str], float] = {}

    @property
    def refusal(self) -> str:
        """Why the last command was refused, or "" if it passed."""
        return self._refusing[1]

    @property
    def stamped(self) -> bool:
        """Whether what the controller is told carries the moment: in a trajectory, a stamp of zero means at once."""
        return self._path.stamped

    # -- what it hears -------------------------------------------------------------------------------------

    def hear_enable(self, held: bool, now: float) -> None:
        """The operator holds the enable, or has let it go; of several, the one counts that lets go."""
        if not held:
            self._enabled, self._let_go = -math.inf, now
        elif now - self._let_go > self.settings.enable_timeout:
            self._enabled = now

    def hear_emergency(self, standing: bool, now: float, who: str = "button") -> None:
        """An emergency stop was pressed or released, by ``button`` or by the ``bridge``."""
        before, self._emergency[who] = self._emergency[who], f"emergency stop ({who})" if standing else ""
        if standing and not before:
            self._note_once(now, "emergency stop", who)

    def hear_tool(self, message: Message, now: float) -> None:
        """A pose of the tool."""
        self._path.hear_tool(message, now)

    def hear_joints(self, message: Message, now: float) -> None:
        """Joint states."""
        self._path.hear_joints(message, now)

    # -- what it lets pass ---------------------------------------------------------------------------------

    def command(self, message: Message, now: float) -> Message | None:
        """The command, if it may pass, or None."""
        self._look(now)  # first: one that comes after a silence does not undo it
        if self.state in ("braking", "stopped"):
            self.refused += 1
            return None
        cause = self._prohibited(now) or self._untimely(message, now) or self._path.fault(message, now)
        if cause:
            self.refused += 1
            self._refusing = self._refusing[0] + 1, cause, now
            self._note_once(now, "refused", cause)
            return None
        self._path.accept(message, now)
        self.state, self._heard, self._sent, self._refusing = "relaying", now, now, (0, "", now)
        self.passed += 1
        return message

    def gripper(self, closed: float, now: float) -> float | None:
        """How far the gripper is to be closed, 0 to 1, if that may pass: only while the arm is commanded."""
        if self.state != "relaying" or self._prohibited(now) or not 0.0 <= closed <= 1.0:
            self.refused += 1
            return None
        return closed

    def tick(self, now: float) -> Message | None:
        """What the arm is told in place of commands, or None; call ``settings.hz`` times a second."""
        self._look(now)
        message = None
        if self.state == "relaying":
            message = self._path.command_to_repeat() if now - self._sent >= _AGAIN / self.settings.hz else None
        elif self.state == "braking":
            message = self._path.brake(now, self._halted(now))
            if self._path.at_rest or now - self._braking_since > _SLOWEST:
                self.state, self._resting_since = "stopped", now
                self._note(now, "at rest", f"{now - self._braking_since:.2f} s after it began to brake")
        elif self.state == "stopped":
            message = self._path.rest(now)
            if now - self._resting_since > _SETTLE:
                self.state = "idle"
                self._path.forget()
        self._sent = now if message is not None else self._sent
        return message

    def _look(self, now: float) -> None:
        """Begin to brake if commands pass that may not any more."""
        if self.state != "relaying":
            return
        cause = self._prohibited(now) or self._lapsed(now) or self._path.tracking_error()
        if cause and self._path.resting:
            self.state = "idle"
            self._path.forget()
        elif cause:
            self.state, self.cause, self._braking_since = "braking", cause, now
            silent = now - self._heard > _SILENT / self.settings.hz
            self._path.begin_brake(now, silent, self._halted(now))
            self._note(now, "brake", cause)

    def _halted(self, now: float) -> bool:
        """Whether the controller has stopped the arm by itself: it heard nothing for longer than it waits."""
        return 0.0 < self.settings.controller_timeout < now - self._sent

    def waits_for(self, now: float) -> str:
        """What is missing for commands to pass, or ""."""
        return self._prohibited(now)

    def refuses(self, now: float) -> str:
        """Why no command passes though they come, or ""."""
        count, cause, when = self._refusing
        return cause if count >= _REFUSING and now - when <= _REFUSING_FOR else ""

    def shut_down(self, now: float) -> None:
        """The guard is to end: brake, and let nothing pass any more."""
        self._emergency["guard"] = "the guard ends"

    def take_events(self) -> list[GuardEvent]:
        """Events since this was last asked."""
        news, self._news = self._news, []
        return news

    # -- why not -------------------------------------------------------------------------------------------

    def _prohibited(self, now: float) -> str:
        if not self.active:
            return "the guard is not active"
        for cause in self._emergency.values():
            if cause:
                return cause
        if self._path.state_age(now) > self.settings.state_timeout:
            return "the arm's state is lost"
        if self.settings.enable != "always" and now - self._enabled > self.settings.enable_timeout:
            return "the enable is not held"
        return self._path.outside()

    def _lapsed(self, now: float) -> str:
        silent = now - self._heard
        if silent <= self.settings.ttl:
            return ""
        count, cause, _ = self._refusing
        return f"no sound command for {silent:.2f} s: {cause}" if count else f"no command for {silent:.2f} s"

    def _untimely(self, message: Message, now: float) -> str:
        """Whether a command is too old or comes after a newer one; stamps of zero say nothing.

        The quickest of the last commands is taken for one that took no time, so no clocks need to agree.
        """
        stamp = seconds_of(message["header"]["stamp"]) if "header" in message else 0.0
        if stamp <= 0.0:
            return ""
        if self._stamp - 1.0 < stamp <= self._stamp:
            return "a command that is older than the one before"
        self._stamp = stamp  # also if it is much older: the sender's clock was set back
        self._clock.heard(stamp, now)
        age = now - self._clock.local(stamp)
        return f"a command that was {age:.2f} s on its way" if age > self.settings.ttl else ""

    def _note_once(self, now: float, kind: str, cause: str) -> None:
        """Note it if it is new: what goes on, as at every command, is said when it begins; its numbers may differ."""
        key = kind, re.sub(r"-?[0-9.]+", "#", cause)
        news = now - self._noted.get(key, -math.inf) > _QUIET
        self._noted[key] = now
        if news:
            self._note(now, kind, cause)

    def _note(self, now: float, kind: str, cause: str) -> None:
        self.events.append(GuardEvent(now, kind, cause))
        self._news.append(self.events[-1])
