"""The settings of the loop (``loop`` in the configuration), checked."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lohovla.control.motion_limits import MotionLimits
from lohovla.errors import UserError

JOINS = ("sync", "ensemble", "rtc", "rtc-trained")
PROGRESS = ("model", "reward")
SLACK = 2.0  # times the time of a way at full speed that a sub-task may take: the arm rests in between, starts slowly
REACH = ((0.18, -0.58, -0.005), (0.82, 0.58, 0.60))  # m, where the simulated arm takes commands


@dataclass(frozen=True)
class SafetySettings:
    """When the loop steps in; times in seconds.

    Attributes:
        stale_after: an action is never carried out later than this after the observation that it was decided on.
        hold: how long the arm waits at the last target for a new chunk before the loop calls it stopped.
        model_timeout: a chunk that takes longer counts as stuck, and the model is started anew.
        plan_timeout: the same for a plan, and for the first chunk after a start.
        restarts: how often in an episode, before the emergency stop.
        late: a command later than this is taken for a jump of the clock: brake, and begin with a fresh chunk.
        deadman: whether a person must keep a button pressed.
        deadman_timeout: a press holds this long.
        watchdog: the receiving side brakes when no command came for this long.
        change: m, the largest difference of consecutive actions.
        turn_change: rad, the same of rotations.
        camera_stale: a picture older than this is not shown to the model.
        camera_travel: m of tool path before a camera over which its picture must change, else it counts as frozen.
    """

    stale_after: float = 1.5
    hold: float = 1.0
    model_timeout: float = 2.0
    plan_timeout: float = 10.0
    restarts: int = 3
    late: float = 0.1
    deadman: bool = False
    deadman_timeout: float = 0.2
    watchdog: float = 0.1
    change: float = 0.12
    turn_change: float = 0.6
    camera_stale: float = 0.3
    camera_travel: float = 0.1


@dataclass(frozen=True)
class LoopSettings:
    """How the loop runs.

    Attributes:
        command_hz: commands a second, 20 to 500.
        join: how chunks follow each other, one of :data:`JOINS`.
        execute: actions that are carried out from one chunk until the next; fewer if the old one would end
            before, more if the model is slow.
        beta: largest weight of the guidance (``rtc``).
        decay: of the weights of older chunks (``ensemble``).
        priority: whether commands ask for real-time priority (wall clock).
        bridge: s over which what is left of a difference between chunks fades.
        progress: who says that a sub-task is done: the ``model``, or the ``reward``.
        done_at: the progress at which the model calls it done.
        patience: s without completion that count as a failure of the sub-task; more where the arm is too slow for it.
        failures: in a row, before a new plan is asked for.
        limits: what the tool may do.
        safety: when the loop steps in.
    """

    command_hz: float = 100.0
    join: str = "rtc-trained"
    execute: int = 8
    beta: float = 5.0
    decay: float = 0.1
    priority: bool = True
    bridge: float = 0.1
    progress: str = "model"
    done_at: float = 0.95
    patience: float = 8.0
    failures: int = 2
    limits: MotionLimits = field(default_factory=lambda: MotionLimits(*REACH))
    safety: SafetySettings = field(default_factory=SafetySettings)

    def __post_init__(self) -> None:
        if self.join not in JOINS:
            nearest = difflib.get_close_matches(str(self.join), JOINS, n=1, cutoff=0.0)[0]
            raise UserError(f"chunks cannot be joined by {self.join!r}", f"did you mean {nearest!r}?")
        if self.progress not in PROGRESS:
            raise UserError(f"progress cannot be {self.progress!r}", "choose model or reward")
        if not 20.0 <= self.command_hz <= 500.0:
            raise UserError(f"command_hz cannot be {self.command_hz}", "it lies between 20 and 500")
        if self.execute < 1:
            raise UserError(f"execute must be at least 1, not {self.execute}", "8 is the default")
        _check_positive(self, ("beta", "bridge", "patience"))
        _check_positive(self.safety, ("stale_after", "model_timeout", "late", "deadman_timeout", "watchdog", "change"))
        moves = ("velocity", "acceleration", "jerk", "turn_velocity", "turn_acceleration", "turn_jerk")
        _check_positive(self.limits, moves)

    @property
    def period(self) -> float:
        """Seconds between commands."""
        return 1.0 / self.command_hz

    def allowance(self, way: float) -> float:
        """How long a sub-task may take, s: ``patience``, or more at the speed that is allowed.

        Args:
            way: m that the tool has to go for it; 0 where that is not known: then ``patience``, which is meant for the
                simulated arm's speed, counts in proportion.
        """
        velocity = self.limits.velocity
        if way > 0.0:
            return max(self.patience, SLACK * way / velocity)
        return self.patience * max(1.0, MotionLimits.velocity / velocity)

    @property
    def stopping_time(self) -> float:
        """The longest that the arm takes from the decision to stop until it rests, s."""
        return self.limits.stopping_time(self.period) + 2.0 * self.period

    @property
    def quiet_time(self) -> float:
        """The longest that the arm can go on moving after the model, or what it sees, has failed for good, s."""
        return self.safety.stale_after + 2.0 * self.stopping_time

    @classmethod
    def from_config(cls, settings: Mapping[str, Any]) -> LoopSettings:
        """From a configuration; nested ``limits`` and ``safety`` may give some of theirs.

        Raises:
            UserError: a setting is unknown or out of range.
        """
        rest = dict(settings)
        limits, safety = dict(rest.pop("limits", {})), dict(rest.pop("safety", {}))
        limits = {k: tuple(v) if k in ("low", "high") else v for k, v in limits.items()}
        for name, given, kind in (
            ("loop", rest, cls),
            ("loop.limits", limits, MotionLimits),
            ("loop.safety", safety, SafetySettings),
        ):
            known = [f.name for f in dataclasses.fields(kind)]
            if unknown := sorted(set(given) - set(known)):
                raise UserError(f"{name} has no setting {unknown[0]!r}", f"it has {', '.join(known)}")
        bounds = dict(zip(("low", "high"), REACH, strict=True))
        return cls(**rest, limits=MotionLimits(**{**bounds, **limits}), safety=SafetySettings(**safety))


def _check_positive(settings: Any, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(settings, name)
        if not 0.0 < value < float("inf"):
            raise UserError(f"{name} must be above 0, not {value}", "`lohovla rollout --help` shows the defaults")
