"""Thousands of short episodes in which something goes wrong, and what the arm did then.

A kinematic stand-in with the true limits (or the MuJoCo environment) is driven by a policy that wanders between
goals, in simulated time. One fault of a kind is injected at a random moment, for a while or for good. Every
target of the arm and every command of the loop is checked against every limit, and after a fault for good the
time until the arm rests against the stated one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lohovla.benchmarks.control.fault_injection import FAULTS, FINAL, FaultInjector
from lohovla.control.clock import SimulatedClock
from lohovla.control.inference.inference_worker import SimulatedWorker
from lohovla.control.loop import ControlLoop
from lohovla.control.motion_limits import MotionLimits
from lohovla.control.safety.command_receiver import Command
from lohovla.control.settings import CHUNKING_MODES, LoopSettings, SafetySettings
from lohovla.control.simulated_robots import KinematicArm
from lohovla.policies.random_waypoints import RandomWaypointPolicy

_LENGTH = 5.0  # s of an episode, longer where the stated time is
_REST = 1e-5  # m and rad in 0.01 s; less is rest: 1 mm/s
_HOME = np.array([0.5, 0.0, 0.3, 0.0, 0.0, 0.0])


@dataclass
class FaultOutcome:
    """What one episode showed.

    Attributes:
        fault: its kind.
        forever: whether it stayed.
        join: how chunks were joined.
        broken: limits that were exceeded, in words.
        rested: s from the fault (or from its detection, for a frozen camera) until the arm stood still for good;
            None if the fault passes.
        stated: s that this may take.
        moved: m, length of the tool's whole path.
        events: counts by kind.
    """

    fault: str
    forever: bool
    join: str
    broken: list[str]
    rested: float | None = None
    stated: float = math.inf
    moved: float = 0.0
    events: dict[str, int] = field(default_factory=dict)

    @property
    def bad(self) -> bool:
        """Whether a limit was exceeded or the arm did not rest in time."""
        return bool(self.broken) or (self.rested is not None and self.rested > self.stated)


def violations(poses: np.ndarray, dt: float, limits: MotionLimits) -> list[str]:
    """Limits that consecutive poses (n, 6), ``dt`` seconds apart and at rest before the first, exceed."""
    found = []
    low, high = np.array(limits.low) - 1e-9, np.array(limits.high) + 1e-9
    if (poses[:, :3] < low).any() or (poses[:, :3] > high).any():
        found.append("workspace")
    poses = np.vstack([poses[:1]] * 3 + [poses])
    names = ("velocity", "acceleration", "jerk")
    for order, name in enumerate(names, start=1):
        rates = np.abs(np.diff(poses, order, axis=0)) / dt**order
        rounding = 4e-15 / dt**order * max(1.0, float(np.abs(poses).max()))
        for label, part in ((name, rates[:, :3]), (f"turn_{name}", rates[:, 3:])):
            if part.max() > getattr(limits, label) * (1 + 1e-9) + rounding:
                found.append(f"{label} {part.max():.4g}")
    return found


def play_with_fault(
    seed: int,
    make_arm: Callable[[int], Any] | None = None,
    fault: str | None = None,
    rates: Sequence[float] = (50.0, 100.0, 100.0, 200.0, 500.0),
    forever: bool | None = None,
) -> FaultOutcome:
    """One episode; everything in it follows from ``seed``.

    Args:
        seed: of the episode.
        make_arm: builds the robot from the seed; the kinematic stand-in if None.
        fault: its kind, if not to be drawn.
        rates: of commands, to draw from.
        forever: whether a fault stays that can, if not to be drawn.
    """
    rng = np.random.default_rng(seed)
    kind = fault or FAULTS[seed % len(FAULTS)]
    drawn = rng.random() < 0.6
    forever = kind in FINAL and (drawn if forever is None else forever)
    joins = (
        [*CHUNKING_MODES, "ensemble", "rtc-trained"] if make_arm is None else CHUNKING_MODES
    )  # rtc takes the most time
    join = str(rng.choice(joins))
    hz = float(rng.choice(rates))
    safety = SafetySettings(
        deadman=kind == "deadman", stale_after=float(rng.uniform(0.6, 1.5)), model_timeout=0.8, hold_timeout=0.4
    )
    settings = LoopSettings(chunking_mode=join, command_hz=hz, n_action_steps=int(rng.integers(4, 13)), safety=safety)
    injector = FaultInjector(kind, forever, float(rng.uniform(0.8, 2.2)), rng, float(rng.choice([0.0, 0.05, 0.2, 0.5])))

    clock, policy = SimulatedClock(), RandomWaypointPolicy()
    arm = KinematicArm(_HOME) if make_arm is None else make_arm(seed)
    observe, command = arm.observe, arm.command
    arm.observe = lambda now, world: injector.corrupt_observation(observe(now, world))

    def send(sent: Command, now: float) -> None:
        if (kept := injector.corrupt_command(sent, now)) is not None:
            command(kept, now)

    arm.command = send  # type: ignore
    loop = ControlLoop(
        arm, policy.spec, SimulatedWorker(policy, injector.delay, injector.corrupt_reply, 0.3), settings, clock
    )
    loop.start(seed)
    targets, commands, times = _record(loop, arm)
    length = max(_LENGTH, injector.start + injector.stated_rest_time(settings) + 1.0)
    due, shift = 0.0, 0.0
    while due - shift < length and not arm.ended:
        clock.sleep_until(due)
        now = clock.now()
        shift += _strike(injector, loop, arm, clock, now)
        due = clock.now()
        if kind == "dead sender" and injector.active(now):
            arm.advance(due)
        else:
            loop.tick()
        due += settings.period
    poses = np.array(targets)
    broken = violations(poses, 0.01, settings.limits)
    broken += [f"command {found}" for found in violations(np.array(commands), settings.period, settings.limits)]
    moved = float(np.linalg.norm(np.diff(poses[:, :3], axis=0), axis=1).sum())
    outcome = FaultOutcome(kind, forever, join, broken, moved=moved, events=dict(loop.log.counts))
    if forever:
        outcome.stated = injector.stated_rest_time(settings)
        outcome.rested = _rest(poses, times, injector, settings)
    return outcome


def _record(loop: ControlLoop, arm: Any) -> tuple[list[np.ndarray], list[np.ndarray], list[float]]:
    """Lists that fill with the arm's targets, the loop's commands, and the times of the targets."""
    start = arm.receiver.limiter.pose
    targets, commands, times = [start], [start], [0.0]
    move = arm._move

    def moved(target: np.ndarray, gripper: float) -> None:
        targets.append(target)
        times.append(times[-1] + 0.01)
        move(target, gripper)

    arm._move = moved
    loop.on_tick = lambda loop: commands.append(loop.last_command.pose) if loop.last_command else None
    return targets, commands, times


def _strike(injector: FaultInjector, loop: ControlLoop, arm: Any, clock: SimulatedClock, now: float) -> float:
    """Do now what the fault does to the loop's inputs and the clock; returns by how much the clock was set."""
    active = injector.active(now)
    if injector.kind == "deadman" and not active:
        loop.deadman.press(now)
    if not active or injector.done:
        if injector.kind == "emergency stop" and not active and injector.done:
            loop.release()
        return 0.0
    injector.done = True
    if injector.kind == "emergency stop":
        loop.stop("somebody pressed the button")
    elif injector.kind == "reset":
        loop.reset(loop.inference_client.epoch)
    elif injector.kind in ("clock set", "suspended"):
        jump = float(injector.rng.choice([0.3, 5.0, -0.3, -5.0]))
        if injector.kind == "suspended":
            clock.jump(abs(jump))
            return 0.0
        clock.jump(jump)
        arm.shift(jump)
        return jump
    return 0.0


def _rest(poses: np.ndarray, times: Sequence[float], injector: FaultInjector, settings: LoopSettings) -> float:
    """Seconds from the fault until the last motion.

    A frozen camera counts from when it can be noticed: the tool has gone the way that shows it, and the loop
    has looked again.
    """
    ways = np.linalg.norm(np.diff(poses, axis=0), axis=1)
    moving = np.flatnonzero(ways > _REST)
    last = times[moving[-1] + 1] if len(moving) else 0.0
    since = injector.start
    if injector.kind == "frozen camera":
        path = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(poses[:, :3], axis=0), axis=1))])
        start = int(np.searchsorted(times, since))
        shown = np.flatnonzero(path > path[start] + settings.safety.frozen_camera_distance)
        looks = settings.n_action_steps / 20.0 + 1.5 * injector.usual_delay + settings.safety.model_timeout
        since = times[min(int(shown[0]) if len(shown) else len(times) - 1, len(times) - 1)] + looks
    return max(last - since, 0.0)


def summarize(outcomes: Sequence[FaultOutcome]) -> list[dict[str, Any]]:
    """A row for each kind of fault: episodes, faults for good, limits exceeded, longest and stated time to rest."""
    rows = []
    for kind in dict.fromkeys(outcome.fault for outcome in outcomes):
        mine = [outcome for outcome in outcomes if outcome.fault == kind]
        final = [outcome for outcome in mine if outcome.rested is not None]
        rows.append(
            {
                "fault": kind,
                "episodes": len(mine),
                "for good": len(final),
                "limits exceeded": sum(bool(outcome.broken) for outcome in mine),
                "too late": sum(outcome.rested > outcome.stated for outcome in final if outcome.rested is not None),
                "longest s": round(max((o.rested for o in final if o.rested is not None), default=0.0), 3),
                "stated s": round(max((o.stated for o in final), default=0.0), 3),
            }
        )
    return rows
