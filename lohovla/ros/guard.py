"""The guard on the robot's side: lets commands pass while all is well, and brakes the arm when they cease.

A client that dies stops nothing: the last command stands. The guard is the node between the bridge and the robot's
controllers. It changes no command: one that is sound is passed on at once, any other is refused. When none came for
the time to live, the enable is let go, the arm's state is lost or somebody presses the emergency stop, it brings the
arm to rest from where it is, within limits of acceleration and jerk. This module is its logic, without ROS and
without a clock; :mod:`lohovla.ros.guard_paths` knows the kinds of commands, :mod:`lohovla.ros.guard_node` the topics.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from lohovla.ros.clocks import ClockOffset
from lohovla.ros.guard_paths import PATHS
from lohovla.ros.messages import Message, seconds_of

COMMAND, GRIPPER, STATE = "/lohovla/guarded/command", "/lohovla/guarded/gripper", "/lohovla/guard"
_KEPT = 200  # events
_SETTLE = 0.3  # s that the arm is told to rest before the guard falls silent
_SLOWEST = 10.0  # s after which a brake counts as done, whatever its sums say


@dataclass(frozen=True)
class GuardSettings:
    """What the guard knows of a robot; plain values, so that they travel as JSON.

    Attributes:
        kind: of commands: pose, twist or trajectory.
        topic: of the controller.
        gripper: as in the robot's profile.
        frame: in which commands are given.
        tool: topic of the tool's pose, or "".
        offset: ``{position, rotation}`` of the tool's tip in the frame on that topic.
        joints: topic of the joint states, or "".
        names: of the joints.
        hz: commands a second while it brakes.
        ttl: s that a command counts.
        enable: ``topic``, or ``always`` for simulators.
        enable_timeout: s that an enable holds.
        state_timeout: s that the arm's state may be old.
        limits: ``low`` and ``high`` of the tip, m; ``velocity``, ``acceleration``, ``jerk``, ``turn_velocity``,
            ``turn_acceleration``, ``turn_jerk``, as in the control loop.
        joint_limits: ``velocity`` (rad/s), ``acceleration``, ``jerk``, ``low``, ``high`` (rad): trajectories only.
        margin: how many times the limits of speed a command may have: the client keeps them, the guard catches it
            if it does not.
        leap: m; a first command farther from the arm is refused.
        ahead: s from a trajectory to its point.
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
    joint_limits: Mapping[str, float] = field(default_factory=dict)
    hz: float = 50.0
    ttl: float = 0.2
    enable: str = "topic"
    enable_timeout: float = 0.5
    state_timeout: float = 0.2
    margin: float = 1.25
    leap: float = 0.05
    ahead: float = 0.1

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> GuardSettings:
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
        passed: commands that passed.
        refused: commands that did not.
        events: the newest that happened.
    """

    def __init__(self, settings: GuardSettings):
        self.settings = settings
        self._path: Any = PATHS[settings.kind](settings)
        self.state, self.cause = "idle", ""
        self.passed = self.refused = 0
        self.events: deque[GuardEvent] = deque(maxlen=_KEPT)
        self._enabled = self._heard = -math.inf
        self._news: list[GuardEvent] = []
        self._emergency = {"button": "", "bridge": "", "guard": ""}
        self._clock, self._stamp = ClockOffset(), 0.0
        self._braking_since = self._resting_since = 0.0
        self._said = ""

    # -- what it hears -------------------------------------------------------------------------------------

    def hear_enable(self, held: bool, now: float) -> None:
        """The operator holds the enable, or has let it go."""
        self._enabled = now if held else -math.inf

    def hear_emergency(self, standing: bool, now: float, who: str = "button") -> None:
        """An emergency stop was pressed or released, by ``button`` or by the ``bridge``."""
        before, self._emergency[who] = self._emergency[who], f"emergency stop ({who})" if standing else ""
        if standing and not before:
            self._note(now, "emergency stop", who)

    def hear_tool(self, message: Message, now: float) -> None:
        """A pose of the tool."""
        self._path.hear_tool(message, now)

    def hear_joints(self, message: Message, now: float) -> None:
        """Joint states."""
        self._path.hear_joints(message, now)

    # -- what it lets pass ---------------------------------------------------------------------------------

    def command(self, message: Message, now: float) -> Message | None:
        """The command, if it may pass, or None."""
        if self.state in ("braking", "stopped"):
            self.refused += 1
            return None
        cause = self._prohibited(now) or self._untimely(message, now) or self._path.fault(message, now)
        if cause:
            self.refused += 1
            if cause != self._said:
                self._note(now, "refused", cause)
            self._said = cause
            return None
        self._path.accept(message, now)
        self.state, self._heard, self._said = "relaying", now, ""
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
        if self.state == "relaying":
            cause = self._prohibited(now) or self._lapsed(now)
            if cause and self._path.resting:
                self.state = "idle"
                self._path.forget()
            elif cause:
                self.state, self.cause, self._braking_since = "braking", cause, now
                self._path.begin_brake()
                self._note(now, "brake", cause)
        if self.state == "braking":
            message = self._path.brake(now)
            if self._path.resting or now - self._braking_since > _SLOWEST:
                self.state, self._resting_since = "stopped", now
                self._note(now, "at rest", f"{now - self._braking_since:.2f} s after it began to brake")
            return message
        if self.state == "stopped":
            if now - self._resting_since > _SETTLE:
                self.state = "idle"
                self._path.forget()
            return self._path.rest(now)
        return None

    def waits_for(self, now: float) -> str:
        """What is missing for commands to pass, or ""."""
        return self._prohibited(now)

    def leave(self, now: float) -> None:
        """The guard is to end: brake, and let nothing pass any more."""
        self._emergency["guard"] = "the guard ends"

    def news(self) -> list[GuardEvent]:
        """Events since this was last asked."""
        news, self._news = self._news, []
        return news

    # -- why not -------------------------------------------------------------------------------------------

    def _prohibited(self, now: float) -> str:
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
        return f"no command for {silent:.2f} s" if silent > self.settings.ttl else ""

    def _untimely(self, message: Message, now: float) -> str:
        """Whether a command is too old or comes after a newer one; stamps of zero say nothing.

        The quickest of the last commands is taken for one that took no time, so no clocks need to agree.
        """
        stamp = seconds_of(message["header"]["stamp"])
        if stamp <= 0.0:
            return ""
        if self._stamp - 1.0 < stamp <= self._stamp:
            return "a command that is older than the one before"
        self._stamp = stamp  # also if it is much older: the sender's clock was set back
        self._clock.heard(stamp, now)
        age = now - self._clock.local(stamp)
        return f"a command that was {age:.2f} s on its way" if age > self.settings.ttl else ""

    def _note(self, now: float, kind: str, cause: str) -> None:
        self.events.append(GuardEvent(now, kind, cause))
        self._news.append(self.events[-1])
