"""Why the arm must stand still, and why a run ended: each a kind that programs may rely on, and a cause for people."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class StopReason(Enum):
    """A kind of reason for which the arm must stand still, as the log names it, in the order in which they count.

    Attributes:
        fault: whether something is broken, and not merely a person's wish.
    """

    EMERGENCY_STOP = "emergency stop", False
    BRIDGE_LOST = "bridge lost", True
    STATE_LOST = "state lost", True
    ROBOT_STOPPED = "robot stopped", False
    CAMERA_LOST = "camera lost", True
    NO_TOP_VIEW = "no top view", True
    GUARD_LOST = "guard lost", True
    GUARD_STOPPED = "guard stopped", False
    GUARD_REFUSES = "guard refuses", True
    NOT_FOLLOWING = "not following", True
    ANOTHER_BRIDGE = "another bridge", True
    NO_GOAL = "no goal", False
    WARMING_UP = "warming up", False
    NOT_STARTED = "not started", False
    PAUSED = "paused", False
    NOT_ENABLED = "not enabled", False

    def __init__(self, words: str, fault: bool):
        self.words, self.fault = words, fault

    @property
    def by_operator(self) -> bool:
        """Whether it is for a person to end it: their wish, or that they do not wish it yet."""
        return not self.fault and self is not StopReason.WARMING_UP


class MotionPermit(NamedTuple):
    """Whether the arm may move: true if no reason speaks against it.

    Attributes:
        reason: the first that does, or None.
        cause: the particulars, in words.
    """

    reason: StopReason | None
    cause: str

    def __bool__(self) -> bool:
        return self.reason is None

    @property
    def description(self) -> str:
        """The reason and its cause in a line, or ""."""
        return f"{self.reason.words}: {self.cause}" if self.reason else ""


PERMITTED = MotionPermit(None, "")


class EndKind(Enum):
    """A kind of end of a run."""

    DONE = "done"  # the policy says that the goal is reached
    NOTHING = "nothing to do"  # the policy says that it can do nothing, or nothing more, for the goal
    JUDGED = "judged"  # the simulator says that its episode is over
    STOPPED = "stopped"  # a person, or a signal
    TIME = "time"  # the time that was given is up
    NOT_HOME = "not home"  # the arm did not come to its home pose


class RunEnd(NamedTuple):
    """The end of a run: its kind, and the cause in words."""

    kind: EndKind
    cause: str
