"""A run on a robot: wait until all is well, go home slowly, let the policy play, stop whenever anything is lost."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lohovla.control.clock import WallClock
from lohovla.control.events import EventLog
from lohovla.control.limits import Limiter
from lohovla.control.loop import ControlLoop
from lohovla.control.poses import nearest
from lohovla.control.receiver import Command
from lohovla.control.settings import LoopSettings
from lohovla.control.worker import Worker
from lohovla.envs.language import vocabulary
from lohovla.policies.base import PolicySpec
from lohovla.ros.gate import Gate, Verdict
from lohovla.ros.operator import Operator
from lohovla.ros.peers import Peers
from lohovla.ros.robot import RosRobot
from lohovla.ros.transport import ServiceFailed

_log = logging.getLogger("lohovla.ros")
_AT_HOME, _AT_HOME_TURN = 0.01, 0.05  # m, rad
_ASK_TIME_EVERY = 5.0  # s
_SETTLED = 0.3  # s of rest at the end before the bridge leaves


@dataclass
class Outcome:
    """What came of a run.

    Attributes:
        cause: why it ended.
        seconds: how long the policy had the arm.
        subtasks: what it planned, each with its time, s.
        events: what went wrong or was prevented.
        counts: how often, by kind.
    """

    cause: str
    seconds: float
    subtasks: list[tuple[float, str]] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


class Session:
    """Runs a policy on a robot.

    Args:
        robot: the robot.
        spec: of the policy.
        worker: runs it.
        settings: of the control loop, from :meth:`~lohovla.ros.profile.Profile.loop_settings`.
        operator: what people want.

    Attributes:
        phase: waiting, homing, running or ended.
        verdict: why the arm stands still, if it must.
        watchers: called after every look at the arm: recordings, traces.
        commanded: the last command that was made, or None.
        peers: other bridges on the same robot.
    """

    def __init__(self, robot: RosRobot, spec: PolicySpec, worker: Worker, settings: LoopSettings, operator: Operator):
        self.robot, self.operator, self.settings = robot, operator, settings
        self.clock = WallClock()
        self.loop = ControlLoop(robot, spec, worker, settings, self.clock)
        self.loop.on_tick = self._tick
        self.loop.on_subtask = self._turn
        self.peers = Peers(robot.transport)
        self.gate = Gate(robot, operator, "images.top" in spec.observation_keys, self.peers)
        self.watchers: list[Callable[[Session], None]] = []
        self.commanded: Command | None = None
        self.phase, self.verdict, self.subtask = "waiting", Verdict("waiting", "for the robot"), ""
        self.log = EventLog()
        self._spans: list[tuple[float, str]] = []
        self._goals = operator.goals
        self._over: Callable[[], str] = lambda: ""
        self._cause, self._seed, self._began, self._seconds = "", 0, 0.0, 0.0
        self._moving_since: float | None = None
        self._closed = threading.Event()
        operator.on_emergency = self.loop.stop
        self._time = threading.Thread(target=self._ask_time, name="lohovla-clock", daemon=True)
        self._time.start()

    def close(self) -> None:
        """End the session's own threads."""
        self._closed.set()

    # -- the run -------------------------------------------------------------------------------------------

    def run(self, seed: int, over: Callable[[], str] = lambda: "", home: bool = True) -> Outcome:
        """One episode.

        Args:
            seed: the policy's.
            over: asked after every command whether the episode is over, and why.
            home: whether to go to the profile's home pose first.
        """
        self._over, self._cause, self._seed = over, "", seed
        self._spans, self.subtask, self._seconds, self.commanded = [], "", 0.0, None
        self.log = EventLog()
        self.log.origin = self.clock.now()
        if self._wait() and (not home or self._go_home()):
            self._play(seed)
        self.phase = "ended"
        self.robot.allowed = self.peers.moving = False
        events = [*self.log.events]
        counts = dict(self.log.counts)
        return Outcome(self._cause, self._seconds, list(self._spans), events, counts)

    @property
    def seconds(self) -> float:
        """How long the policy has had the arm in this run."""
        return self.clock.now() - self._began if self.phase == "running" else self._seconds

    def _ended(self) -> bool:
        self._cause = self._cause or self.operator.ended or self._over()
        return bool(self._cause)

    def _wait(self) -> bool:
        """Until the arm may move; nothing is sent. Returns whether it may."""
        self.phase = "waiting"
        while not self._ended():
            now = self.clock.now()
            self.verdict = self.gate.look(now)
            if self.verdict:
                return True
            self._note(now, self.verdict)
            self._watch()
            self.clock.sleep_until(now + 0.02)
        return False

    def _go_home(self) -> bool:
        """Slowly and straight to the home pose; returns whether it got there."""
        self.phase = "homing"
        profile, period = self.robot.profile, self.settings.period
        goal, limiter = np.array(profile.home), Limiter(self.settings.limits, period)
        self.robot.start(self.clock.now(), self.settings, self.log)
        limiter.reset(self.robot.pose())
        self._set_speed(limiter, profile.start.speed / self.settings.limits.velocity)
        number, due, arrived = 0, self.clock.now(), None
        while not self._ended():
            now = self.clock.now()
            self.verdict = self.gate.look(now, limiter.pose)
            self.robot.allowed = bool(self.verdict)
            self._note(now, self.verdict)
            if self.verdict:
                limiter.follow(
                    np.concatenate([goal[:3], nearest(goal[3:], limiter.pose[3:])]), np.zeros(6), np.zeros(6)
                )
            else:
                limiter.brake()
            number += 1
            command = Command(
                number, now + period, limiter.pose, limiter.velocity, limiter.acceleration, self.robot.gripper(), "run"
            )
            self.robot.command(command, now)
            self.commanded = command
            if not self.verdict and limiter.resting:
                limiter.reset(self.robot.pose())
            self._watch()
            if self._is_at(limiter.pose, goal) and limiter.resting:
                arrived = arrived or now
                if self.robot.dry or self._is_at(self.robot.pose(), goal, 2.0):
                    return True
                if now - arrived > 5.0:
                    self._cause = "the arm did not come to its home pose"
            due += period
            self.clock.sleep_until(due)
        self.robot.allowed = False
        self._brake(limiter, number)
        return False

    def _is_at(self, pose: np.ndarray, goal: np.ndarray, slack: float = 1.0) -> bool:
        turn = float(np.linalg.norm(nearest(pose[3:], goal[3:]) - goal[3:]))
        return bool(np.linalg.norm(pose[:3] - goal[:3]) < slack * _AT_HOME and turn < slack * _AT_HOME_TURN)

    def _play(self, seed: int) -> None:
        """The policy has the arm until the episode is over; then it comes to rest."""
        self._goals = self.operator.goals
        self.robot.instruction = self.operator.goal
        origin = self.log.origin
        self.loop.log = self.loop.asker._log = self.log
        self.loop.start(seed)
        self.log.origin = origin
        self.phase, self._began, self._moving_since = "running", self.clock.now(), None
        self._set_speed(self.loop.limiter, self.robot.profile.start.share)
        self.loop.run(self._ended)
        self._seconds = self.clock.now() - self._began
        self.phase = "stopping"
        rested: list[float] = []

        def resting() -> bool:
            if self.loop.limiter.resting:
                rested.append(self.clock.now())
            return bool(rested) and self.clock.now() - rested[0] > _SETTLED

        self.loop.run(resting)

    def _brake(self, limiter: Limiter, number: int) -> None:
        while not limiter.resting:
            now = self.clock.now()
            limiter.brake()
            number += 1
            command = Command(
                number, now + self.settings.period, limiter.pose, limiter.velocity, limiter.acceleration, 0.0, "stop"
            )
            self.robot.command(command, now)
            self.clock.sleep_until(now + self.settings.period)

    # -- within the run ------------------------------------------------------------------------------------

    def _tick(self, loop: ControlLoop) -> None:
        now = self.clock.now()
        moving = loop.last is not None and not loop.limiter.resting
        self.verdict = self.gate.look(now, loop.limiter.pose if moving else None)
        may = bool(self.verdict) and self.phase == "running"
        self._note(now, self.verdict)
        if may:
            loop.deadman.press(now)
            if loop.emergency and not self.operator.emergency and not loop.asker.lost:
                loop.release()
        else:
            loop.deadman.release()
            if self.operator.emergency:
                loop.stop(self.operator.emergency)
        if loop.asker.lost and not self.operator.emergency:
            self.operator.emergency_stop(loop.asker.lost)
        self.robot.allowed = may and not loop.emergency
        self._pace(now, loop, may)
        if self.operator.goals != self._goals and self.phase == "running":
            self._goals = self.operator.goals
            self.robot.instruction = self.operator.goal
            self._seed += 1
            loop.reset(self._seed)
        self.commanded = loop.last
        self._watch()

    def _watch(self) -> None:
        self.peers.moving = self.robot.allowed
        for watcher in self.watchers:
            watcher(self)

    def _pace(self, now: float, loop: ControlLoop, may: bool) -> None:
        """Slow after every rest, faster as the motion goes on; at rest the arm is taken to be where it is."""
        start = self.robot.profile.start
        if loop.limiter.resting:
            self._moving_since = None
            self._set_speed(loop.limiter, start.share)
            pose = self.robot.measured()
            if not may and pose is not None and not self.robot.dry:
                loop.limiter.reset(pose)
            return
        self._moving_since = self._moving_since or now
        gone = (now - self._moving_since) / start.ramp
        self._set_speed(loop.limiter, start.share + (1.0 - start.share) * gone)

    def _set_speed(self, limiter: Limiter, share: float) -> None:
        limiter.set_speed(min(max(share, 0.01), 1.0))

    def _turn(self, text: str) -> None:
        self.subtask = text
        self._spans.append((round(self.clock.now() - self._began, 3), text))
        _log.info("sub-task: %s", text)
        if text == vocabulary()["done"]:
            self._cause = "the policy says that all is done"

    def _note(self, now: float, verdict: Verdict) -> None:
        """Log each reason when it begins."""
        for kind in _KINDS:
            before = self.log.counts[kind]
            self.log.state(now, kind, verdict.kind == kind, verdict.cause)
            if self.log.counts[kind] > before:
                _log.info("%s: %s", kind, verdict.cause)

    # -- clocks --------------------------------------------------------------------------------------------

    def _ask_time(self) -> None:
        """Ask for the robot's time now and then."""
        while not self._closed.is_set():
            sent = time.monotonic()
            with contextlib.suppress(ServiceFailed, KeyError, TypeError, ValueError):
                answer = self.robot.transport.call("/rosapi/get_time", "rosapi/GetTime", {}, 1.0)["time"]
                received = time.monotonic()
                whole, part = answer.get("sec", answer.get("secs")), answer.get("nanosec", answer.get("nsecs"))
                self.robot.clock.exchange(sent, float(whole) + 1e-9 * float(part), received)
            self._closed.wait(_ASK_TIME_EVERY)

    # -- what is told --------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """The present state for people, as plain values."""
        loop, now = self.loop, self.clock.now()
        replies = loop.accounts.stages["reply"]
        pose = self.robot.measured()
        sight = self.robot.eyes.sight
        ages = [now - stamp for stamp in sight.stamps.values()]
        return {
            "bridge": self.peers.name,
            "phase": self.phase,
            "mode": loop.mode if self.phase == "running" else self.phase,
            "moving": self.robot.allowed,
            "waits_for": "" if self.verdict else f"{self.verdict.kind}: {self.verdict.cause}",
            "goal": self.operator.goal,
            "subtask": self.subtask,
            "progress": round(loop.progress, 3),
            "emergency": self.operator.emergency,
            "paused": self.operator.paused,
            "enabled": self.operator.enabled(now),
            "latency_ms": round(1000.0 * replies[-1], 1) if replies else None,
            "picture_age_ms": round(1000.0 * max(ages), 1) if ages and math.isfinite(max(ages)) else None,
            "clock_offset_s": round(self.robot.clock.offset - (now - time.time()), 4),
            "tool": None if pose is None else [round(float(v), 4) for v in pose],
            "gripper": round(self.robot.gripper(), 3),
            "commands": self.robot.sent,
            "dry_run": self.robot.dry,
            "guard": self.robot.guard.said.get("state") if self.robot.guard else None,
            "seconds": round(self.seconds, 1),
            "events": [f"{e.time:.2f} s {e.kind}: {e.cause}" for e in self.log.events[-8:]],
            "event_count": sum(self.log.counts.values()),
        }


_KINDS = (
    "emergency stop", "bridge lost", "state lost", "camera lost", "no top view", "not following", "no goal",
    "guard lost", "guard stopped", "another bridge", "not started", "paused", "not enabled",
)  # fmt: skip
