"""A run on a robot: wait until all is well, go home slowly, let the policy play, stop whenever anything is lost."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lohovla.control.clock import WallClock
from lohovla.control.event_log import EventLog
from lohovla.control.inference.inference_worker import InferenceWorker
from lohovla.control.loop import ControlLoop
from lohovla.control.motion_limits import MotionLimiter
from lohovla.control.safety.command_receiver import Command
from lohovla.control.settings import LoopSettings
from lohovla.policies.base import DONE, PolicySpec
from lohovla.ros.session.exclusive_control import ExclusiveControl
from lohovla.ros.session.homing import Homing
from lohovla.ros.session.motion_interlock import MotionInterlock
from lohovla.ros.session.operator_interface import OperatorInterface
from lohovla.ros.session.robot_clock_poll import RobotClockPoll
from lohovla.ros.session.ros_robot import RosRobot
from lohovla.ros.session.session_status import session_snapshot
from lohovla.ros.session.stop_reasons import PERMITTED, EndKind, RunEnd, StopReason
from lohovla.ros.session.warmup import WarmUp

_log = logging.getLogger("lohovla.ros")
_LOOK_EVERY = 0.02  # s
_SETTLED = 0.3  # s of rest at the end before the bridge leaves
_OVER = {
    "done": RunEnd(EndKind.DONE, "the policy says that all is done"),
    "nothing": RunEnd(
        EndKind.NOTHING, "the policy says that nothing can be done: no sub-task is left that fits the goal"
    ),
}


@dataclass
class RunResult:
    """What came of a run.

    Attributes:
        end: why it ended.
        seconds: how long the policy had the arm.
        subtasks: what it planned, each with its time, s.
        events: what went wrong or was prevented.
        counts: how often, by kind.
    """

    end: RunEnd
    seconds: float
    subtasks: list[tuple[float, str]] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


class RobotSession:
    """Runs a policy on a robot.

    Args:
        robot: the robot.
        spec: of the policy.
        worker: runs it.
        settings: of the control loop, from :meth:`~lohovla.ros.robot.robot_profile.Profile.loop_settings`.
        operator: what people want.

    Attributes:
        phase: waiting, homing, running or ended.
        verdict: why the arm stands still, if it must.
        watchers: called after every look at the arm: recordings, traces.
        commanded: the last command that was made, or None.
        peers: other bridges on the same robot.
        waited: s of this run in which the policy did not have the arm, and not because a person did not want it.
    """

    def __init__(
        self,
        robot: RosRobot,
        spec: PolicySpec,
        worker: InferenceWorker,
        settings: LoopSettings,
        operator: OperatorInterface,
    ):
        self.robot, self.operator, self.settings = robot, operator, settings
        self.clock = WallClock()
        self.loop = ControlLoop(robot, spec, worker, settings, self.clock)
        self.loop.on_tick = self._tick
        self.loop.on_subtask = self._turn
        self.peers = ExclusiveControl(robot.transport)
        warm_up = WarmUp(worker, spec, settings)
        self.gate = MotionInterlock(robot, operator, "images.top" in spec.observation_keys, self.peers, warm_up)
        self.watchers: list[Callable[[RobotSession], None]] = []
        self.commanded: Command | None = None
        self.phase, self.verdict, self.subtask = "waiting", PERMITTED, ""
        self.log = EventLog()
        self.log.origin = self.clock.now()
        self._spans: list[tuple[float, str]] = []
        self._goals = operator.goals
        self._over: Callable[[], RunEnd | None] = lambda: None
        self._end: RunEnd | None = None
        self._seed, self._began, self._seconds, self.waited = 0, 0.0, 0.0, 0.0
        self._moving_since: float | None = None
        operator.on_emergency = self.loop.stop
        self._clock_poll = RobotClockPoll(robot, lambda: self.clock.now() - self.log.origin)

    def close(self) -> None:
        """End the session's own threads."""
        self._clock_poll.close()

    # -- the run -------------------------------------------------------------------------------------------

    def run(self, seed: int, over: Callable[[], RunEnd | None] = lambda: None, home: bool = True) -> RunResult:
        """One episode; however it ends, the arm is told to rest.

        Args:
            seed: the policy's.
            over: asked after every command whether the episode is over.
            home: whether to go to the profile's home pose first.
        """
        self._over, self._end, self._seed = over, None, seed
        self._spans, self.subtask, self._seconds, self.commanded = [], "", 0.0, None
        self.waited = 0.0
        self.log = EventLog()
        self.log.origin = self.clock.now()
        try:
            if self._wait() and (not home or self._go_home()):
                self._play(seed)
        finally:
            self.robot.rest()
            self.phase, self.peers.moving = "ended", False
        assert self._end is not None, "nothing else ends a run"
        return RunResult(self._end, self._seconds, list(self._spans), [*self.log.events], dict(self.log.counts))

    def snapshot(self) -> dict[str, Any]:
        """The present state for people, as plain values."""
        return session_snapshot(self)

    @property
    def seconds(self) -> float:
        """How long the policy has had the arm in this run."""
        return self.clock.now() - self._began if self.phase == "running" else self._seconds

    def _ended(self) -> bool:
        if self._end is None and self.operator.ended:
            self._end = RunEnd(EndKind.STOPPED, self.operator.ended)
        if self.phase == "running":
            self._end = self._end or _OVER.get(self.loop.episode_over)
        self._end = self._end or self._over()
        return self._end is not None

    def _wait(self) -> bool:
        """Until the arm may move; nothing is sent. Returns whether it may."""
        self.phase = "waiting"
        while not self._ended():
            now = self.clock.now()
            self.verdict = self.gate.check(now)
            self._note(now)
            if self.verdict:
                return True
            if self.verdict.reason is StopReason.WARMING_UP:
                self.robot.instruction = self.operator.goal
                self.gate.warm_up.step(now, self.robot)
            self._watch()
            self.clock.sleep_until(now + _LOOK_EVERY)
            self._count(now)
        return False

    def _count(self, since: float) -> None:
        """Time goes by without the policy. A person may take as long as they like."""
        if self.robot.dry or self.verdict.reason is None or not self.verdict.reason.by_operator:
            self.waited += self.clock.now() - since

    def _go_home(self) -> bool:
        """Slowly and straight to the home pose; returns whether it got there."""
        self.phase = "homing"
        self.robot.start(self.clock.now(), self.settings, self.log)
        homing, due = Homing(self.robot, self.settings), self.clock.now()
        while not self._ended():
            now = self.clock.now()
            self.verdict = self.gate.check(now, homing.pose)
            self.robot.allowed = bool(self.verdict)
            self._note(now)
            self.commanded = homing.step(now, self.verdict)
            self._watch()
            if homing.arrived:
                return True
            if homing.failed(now):
                self._end = RunEnd(
                    EndKind.NOT_HOME, f"the arm did not come to its home pose{self.robot.guard_refusal(now)}"
                )
            due += self.settings.period
            self.clock.sleep_until(due)
            self._count(now)
        self.robot.allowed = False
        homing.brake(self.clock.sleep_until)
        return False

    def _play(self, seed: int) -> None:
        """The policy has the arm until the episode is over; then it comes to rest."""
        self._goals = self.operator.goals
        self.robot.instruction = self.operator.goal
        self.loop.log = self.log
        self.loop.start(seed, self.log.origin)
        self.phase, self._began, self._moving_since = "running", self.clock.now(), None
        self._set_speed(self.loop.limiter, self.robot.profile.start.initial_speed_fraction)
        self.loop.run(self._ended)
        self._seconds = self.clock.now() - self._began
        self.phase = "stopping"
        rested: list[float] = []

        def resting() -> bool:
            if self.loop.limiter.resting:
                rested.append(self.clock.now())
            return bool(rested) and self.clock.now() - rested[0] > _SETTLED

        self.loop.run(resting)

    # -- within the run ------------------------------------------------------------------------------------

    def _tick(self, loop: ControlLoop) -> None:
        now = self.clock.now()
        moving = loop.last_command is not None and not loop.limiter.resting
        self.verdict = self.gate.check(now, self._sent_at(self.robot.told_at) if moving else None)
        may = bool(self.verdict) and self.phase == "running"
        self._note(now)
        if loop.emergency and not self.operator.emergency and not loop.inference_client.failure_cause:
            loop.release()  # whether it may move is another question
        if may:
            loop.deadman.press(now)
        else:
            loop.deadman.release()
            if self.operator.emergency:
                loop.stop(self.operator.emergency)
        if loop.inference_client.failure_cause and not self.operator.emergency:
            self.operator.emergency_stop(loop.inference_client.failure_cause)
        self.robot.allowed = may and not loop.emergency
        self._pace(now, loop, may)
        if self.operator.goals != self._goals and self.phase == "running":
            self._goals = self.operator.goals
            self.robot.instruction = self.operator.goal
            self._seed += 1
            loop.reset(self._seed)
        self.commanded = loop.last_command
        self._watch()

    def _sent_at(self, moment: float) -> np.ndarray:
        """Where the arm (6,) was sent at the moment of which it tells: what it tells is old, and old means far."""
        return self.loop.observation_monitor.command_at(moment + self.settings.period)

    def _watch(self) -> None:
        self.peers.moving = self.robot.allowed
        for watcher in self.watchers:
            watcher(self)

    def _pace(self, now: float, loop: ControlLoop, may: bool) -> None:
        """Slow after every rest, faster as the motion goes on; at rest the arm is taken to be where it is."""
        start = self.robot.profile.start
        if loop.limiter.resting:
            self._moving_since = None
            self._set_speed(loop.limiter, start.initial_speed_fraction)
            pose = self.robot.measured()
            if not may and pose is not None and not self.robot.dry:
                loop.limiter.reset(pose)
            return
        self._moving_since = self._moving_since or now
        gone = (now - self._moving_since) / start.ramp_time
        self._set_speed(loop.limiter, start.initial_speed_fraction + (1.0 - start.initial_speed_fraction) * gone)

    def _set_speed(self, limiter: MotionLimiter, share: float) -> None:
        limiter.set_speed(min(max(share, 0.01), 1.0))

    def _turn(self, text: str) -> None:
        self.subtask = text
        self._spans.append((round(self.clock.now() - self._began, 3), text))
        _log.info("sub-task: %s", text)
        if text == DONE:  # of whatever policy
            self._end = self._end or _OVER["done"]

    def _note(self, now: float) -> None:
        """Log each reason when it begins."""
        for reason in StopReason:
            before = self.log.counts[reason.words]
            self.log.set_condition(now, reason.words, self.verdict.reason is reason, self.verdict.cause)
            if self.log.counts[reason.words] > before:
                _log.info("%s", self.verdict.description)
