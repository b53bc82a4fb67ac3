"""The settings of the loop (``loop`` in the configuration), checked."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lohovla.control.motion_limits import MotionLimits
from lohovla.errors import UserError
from lohovla.settings.renamed_settings import refuse_unknown

CHUNKING_MODES = ("sync", "ensemble", "rtc", "rtc-trained")
PROGRESS = ("model", "reward")
SLACK = 2.0  # times the time of a way at full speed that a sub-task may take: the arm rests in between, starts slowly
REACH = ((0.18, -0.58, -0.005), (0.82, 0.58, 0.60))  # m, where the simulated arm takes commands


@dataclass(frozen=True)
class SafetySettings:
    """When the loop steps in; times in seconds.

    Attributes:
        stale_after: an action is never carried out later than this after the observation that it was decided on.
        hold_timeout: how long the arm waits at the last target for a new chunk before the loop calls it stopped.
        model_timeout: a chunk that takes longer counts as stuck, and the model is started anew.
        plan_timeout: the same for a plan, and for the first chunk after a start.
        restarts: how often in an episode, before the emergency stop.
        clock_jump_threshold: a command later than this is taken for a jump of the clock: brake, and begin with a
            new chunk.
        deadman: whether a person must keep a button pressed.
        deadman_timeout: a press holds this long.
        watchdog: the receiving side brakes when no command came for this long.
        max_step: m, the largest difference of consecutive actions.
        max_turn_step: rad, the same of rotations.
        camera_stale: a picture older than this is not shown to the model.
        frozen_camera_distance: m of tool path before a camera over which its picture must change, else it
            counts as frozen.
    """

    stale_after: float = 1.5
    hold_timeout: float = 1.0
    model_timeout: float = 2.0
    plan_timeout: float = 10.0
    restarts: int = 3
    clock_jump_threshold: float = 0.1
    deadman: bool = False
    deadman_timeout: float = 0.2
    watchdog: float = 0.1
    max_step: float = 0.12
    max_turn_step: float = 0.6
    camera_stale: float = 0.3
    frozen_camera_distance: float = 0.1


@dataclass(frozen=True)
class LoopSettings:
    """How the loop runs.

    Attributes:
        command_hz: commands a second, 20 to 500.
        chunking_mode: how chunks follow each other, one of :data:`JOINS`.
        n_action_steps: actions that are carried out from one chunk until the next; fewer if the old one would end
            before, more if the model is slow.
        max_guidance_weight: largest weight of the guidance (``rtc``).
        temporal_ensemble_coeff: decay of the weights of older chunks (``ensemble``).
        priority: whether commands ask for real-time priority (wall clock).
        blend_time: s over which what is left of a difference between chunks fades.
        progress: who says that a sub-task is done: the ``model``, or the ``reward``.
        success_threshold: the progress at which the model calls it done.
        subtask_timeout: s without completion that count as a failure of the sub-task; more where the arm is too slow
            for it.
        max_subtask_failures: K; more failures in a row bring a new plan, see :mod:`lohovla.policies.replan_rule`.
        limits: what the tool may do.
        safety: when the loop steps in.
    """

    command_hz: float = 100.0
    chunking_mode: str = "rtc-trained"
    n_action_steps: int = 8
    max_guidance_weight: float = 5.0
    temporal_ensemble_coeff: float = 0.1
    priority: bool = True
    blend_time: float = 0.1
    progress: str = "model"
    success_threshold: float = 0.95
    subtask_timeout: float = 8.0
    max_subtask_failures: int = 1
    limits: MotionLimits = field(default_factory=lambda: MotionLimits(*REACH))
    safety: SafetySettings = field(default_factory=SafetySettings)

    def __post_init__(self) -> None:
        if self.chunking_mode not in CHUNKING_MODES:
            nearest = difflib.get_close_matches(str(self.chunking_mode), CHUNKING_MODES, n=1, cutoff=0.0)[0]
            raise UserError(f"loop.chunking_mode cannot be {self.chunking_mode!r}", f"did you mean {nearest!r}?")
        if self.progress not in PROGRESS:
            raise UserError(f"progress cannot be {self.progress!r}", "choose model or reward")
        if not 20.0 <= self.command_hz <= 500.0:
            raise UserError(f"command_hz cannot be {self.command_hz}", "it lies between 20 and 500")
        if self.n_action_steps < 1:
            raise UserError(f"n_action_steps must be at least 1, not {self.n_action_steps}", "8 is the default")
        _check_positive(self, ("max_guidance_weight", "blend_time", "subtask_timeout"))
        _check_positive(
            self.safety,
            ("stale_after", "model_timeout", "clock_jump_threshold", "deadman_timeout", "watchdog", "max_step"),
        )
        moves = ("velocity", "acceleration", "jerk", "turn_velocity", "turn_acceleration", "turn_jerk")
        _check_positive(self.limits, moves)

    @property
    def period(self) -> float:
        """Seconds between commands."""
        return 1.0 / self.command_hz

    def subtask_time_allowed(self, way: float) -> float:
        """How long a sub-task may take, s: ``subtask_timeout``, or more at the speed that is allowed.

        Args:
            way: m that the tool has to go for it; 0 where that is not known: then ``subtask_timeout``, which is meant
                for the simulated arm's speed, counts in proportion.
        """
        velocity = self.limits.velocity
        if way > 0.0:
            return max(self.subtask_timeout, SLACK * way / velocity)
        return self.subtask_timeout * max(1.0, MotionLimits.velocity / velocity)

    @property
    def stopping_time(self) -> float:
        """The longest that the arm takes from the decision to stop until it rests, s."""
        return self.limits.stopping_time(self.period) + 2.0 * self.period

    @property
    def worst_case_stop_time(self) -> float:
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
            refuse_unknown(name, given, [f.name for f in dataclasses.fields(kind)])
        bounds = dict(zip(("low", "high"), REACH, strict=True))
        return cls(**rest, limits=MotionLimits(**{**bounds, **limits}), safety=SafetySettings(**safety))


def _check_positive(settings: Any, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(settings, name)
        if not 0.0 < value < float("inf"):
            raise UserError(f"{name} must be above 0, not {value}", "`lohovla rollout --help` shows the defaults")
