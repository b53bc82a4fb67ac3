"""The loop: every few milliseconds a safe command, whatever the model does meanwhile."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from lohovla.control.chunks.chunk_handover import ArmSnapshot, ChunkHandover
from lohovla.control.chunks.trajectory import Trajectory
from lohovla.control.clock import Clock
from lohovla.control.event_log import EventLog
from lohovla.control.inference.inference_client import InferenceClient, action_prefix
from lohovla.control.inference.inference_messages import InferenceRequest
from lohovla.control.inference.inference_worker import InferenceWorker
from lohovla.control.inference.observation_monitor import ObservationMonitor
from lohovla.control.latency_stats import LatencyStats
from lohovla.control.motion_limits import MotionLimiter
from lohovla.control.poses import POSE
from lohovla.control.priority import uncollected, urgent
from lohovla.control.safety.command_receiver import Command
from lohovla.control.safety.interlocks import Deadman, EmergencyStop
from lohovla.control.settings import LoopSettings
from lohovla.control.simulated_robots import Robot
from lohovla.control.trajectory_follower import TrajectoryFollower
from lohovla.errors import UserError
from lohovla.policies.base import Decision, PolicySpec


class ControlLoop:
    """Turns a policy's chunks into commands at a fixed rate.

    Args:
        robot: what is driven.
        spec: of the policy.
        worker: who runs it.
        settings: how.
        clock: the wall's or a simulated one.

    Raises:
        UserError: the policy does not act in ``ee``, or cannot have its chunks joined as set.
    """

    def __init__(self, robot: Robot, spec: PolicySpec, worker: InferenceWorker, settings: LoopSettings, clock: Clock):
        if spec.control != "ee":
            raise UserError(f"the loop needs ee actions, not {spec.control}", "use control=ee")
        if settings.chunking_mode == "rtc-trained" and not spec.prefix:
            raise UserError(
                "this policy was not trained to continue a chunk", "use loop.chunking_mode=sync, ensemble or rtc"
            )
        self.robot, self.spec, self.worker, self.settings, self.clock = robot, spec, worker, settings, clock
        self._log, self.latency_stats = EventLog(), LatencyStats()
        self.inference_client = InferenceClient(worker, spec, settings, self._log, self.latency_stats)
        self.chunk_handover = ChunkHandover(spec, settings, self.inference_client.period, self._log)
        self.observation_monitor = ObservationMonitor(robot, spec, settings, self.inference_client.period, self._log)
        self.limiter = MotionLimiter(settings.limits, settings.period)
        self.trajectory = Trajectory(
            settings.blend_time, settings.temporal_ensemble_coeff if settings.chunking_mode == "ensemble" else None
        )
        self._follower = TrajectoryFollower(self.trajectory, self.limiter, settings, self._log, self.latency_stats)
        self.deadman, self.emergency = Deadman(settings.safety.deadman_timeout), EmergencyStop()
        self.on_subtask: Callable[[str], None] = lambda text: None
        self.on_tick: Callable[[ControlLoop], None] = lambda loop: None
        self.last_command: Command | None = None
        self._sync = settings.chunking_mode == "sync"
        self.progress = 0.0  # of the sub-task, as the last chunk said
        self.subgoal: np.ndarray | None = None  # picture that it should lead to, where the policy has one
        self.episode_over = ""  # that the policy says that the episode is over, as a Decision has it

    # -- the episode -------------------------------------------------------------------------------

    @property
    def log(self) -> EventLog:
        """Where the events of the loop and of all its parts go. Another one takes effect at once, for all of them."""
        return self._log

    @log.setter
    def log(self, log: EventLog) -> None:
        self._log = self.inference_client.log = self.chunk_handover.log = self.observation_monitor.log = log
        self._follower.log = log

    def start(self, seed: int = 0, origin: float | None = None) -> None:
        """Begin an episode with the arm at rest: forget all before, also what the model still has in flight.

        Args:
            seed: the policy's.
            origin: s, the moment from which the log counts; None is now.
        """
        now = self.clock.now()
        self.log.origin = now if origin is None else origin
        self.robot.start(now, self.settings, self.log)
        self.limiter.reset(self.robot.pose())
        self._follower.begin_episode(now)
        self.inference_client.begin_episode(now, seed)
        self.emergency.release()
        self.deadman.release()
        self.observation_monitor = ObservationMonitor(
            self.robot, self.spec, self.settings, self.inference_client.period, self.log
        )
        self.observation_monitor.begin_episode(now, 0.0)
        self.mode, self.progress, self.subgoal, self.episode_over = "wait", 0.0, None, ""
        self._ticked: float | None = None
        self._commands, self._halted = 0, False
        self._arm_snapshots: dict[int, ArmSnapshot] = {}

    def reset(self, seed: int = 0) -> None:
        """Begin another episode while the arm may still be moving: it brakes first, and nothing in flight survives."""
        now = self.clock.now()
        self._halt(now, "the episode was reset")
        self.inference_client.begin_episode(now, seed)
        self.observation_monitor.begin_episode(now, self.robot.reward)
        self._arm_snapshots, self.episode_over = {}, ""

    def run(self, until: Callable[[], bool]) -> None:
        """Tick at the fixed rate until ``until()``. A command that is due and too late is left out, not caught up."""
        if self.clock.simulated:
            self._run(until)
            return
        with uncollected(), urgent(self.settings.priority) as granted:
            self.latency_stats.real_time_priority = granted
            self._run(until)

    def _run(self, until: Callable[[], bool]) -> None:
        period = self.settings.period
        due = now = self.clock.now()
        if self._ticked is not None and 0.0 <= now - self._ticked < period:
            due = self._ticked + period
        while not until():
            self.clock.sleep_until(due)
            now = self.clock.now()
            self.latency_stats.start_command(due, now)
            self.tick()
            due += period
            behind = self.clock.now() - due
            if behind > period or behind < -2.0 * period:  # too slow, or a clock that was set
                skipped = max(int(behind / period), 0)
                self.latency_stats.missed_commands += skipped
                if skipped:
                    self.log.add(now, "missed", f"{skipped} commands")
                due = due + skipped * period if skipped else self.clock.now() + period

    def tick(self) -> None:
        """One command, and whatever is to be asked and answered beside it."""
        now = self.clock.now()
        self._watch_clock(now)
        self.robot.advance(now)
        for job, reply in self.inference_client.poll_replies(now):
            if job.kind == "plan" and reply.result is not None:
                self.subgoal = reply.result.subgoal
                self.episode_over = self.episode_over or reply.result.over
                self.on_subtask(reply.result.subtask)
            elif job.kind == "chunk":
                self._accept_chunk(now, job, reply.result)  # type: ignore
        self.inference_client.restart_failed_worker(now)
        if self.inference_client.failure_cause:
            self.emergency.trigger(self.inference_client.failure_cause)
        self._send(now)
        if not self.clock.simulated:
            self.latency_stats.add("command", self.clock.now() - now)
        self._request_inference(now)
        self.on_tick(self)

    def stop(self, cause: str) -> None:
        """Emergency stop; it stays until :meth:`release`."""
        self.emergency.trigger(cause)

    def release(self) -> None:
        """A person lets it go on after an emergency stop."""
        self.emergency.release()

    # -- commands ----------------------------------------------------------------------------------

    def _watch_clock(self, now: float) -> None:
        before, self._ticked = self._ticked, now
        if before is None:
            return
        gap = now - before
        if gap < 0.0 or gap > self.settings.period + self.settings.safety.clock_jump_threshold:
            self.log.add(now, "clock jump", f"{gap:+.3f} s between two commands {self.settings.period:g} s apart")
            self._halt(now, "the clock jumped")
            self._follower.restart_hold_timeout(now)
            self.observation_monitor.shift_clock(now, gap - self.settings.period)
            self.inference_client.restart_timeouts(now)

    def _halt(self, now: float, cause: str) -> None:
        """Brake, and go on from rest with what the model says of the situation then."""
        self.inference_client.discard_pending(now, cause)
        self.trajectory.clear()
        self._halted = True

    def _send(self, now: float) -> None:
        ahead = now + self.settings.period
        self.mode = self._motion_stopped(now) or self._follower.follow(now, ahead)
        if not self.latency_stats.modes or self.latency_stats.modes[-1][1] != self.mode:
            self.latency_stats.modes.append((now, self.mode))
        self._commands += 1
        pace = self.trajectory.action_duration(ahead)
        self.observation_monitor.record_command(ahead, self.limiter.pose, self._follower.gripper, pace)
        self.last_command = Command(
            self._commands,
            ahead,
            self.limiter.pose,
            self.limiter.velocity,
            self.limiter.acceleration,
            self._follower.gripper,
            self.mode,
        )
        self.robot.command(self.last_command, now)
        self.latency_stats.send_command(self.clock.now())

    def _motion_stopped(self, now: float) -> str:
        """The mode in which the arm brakes by command, or "" if it may move."""
        safety = self.settings.safety
        self.log.set_condition(now, "emergency stop", bool(self.emergency), self.emergency.cause)
        released = safety.deadman and not self.deadman.held(now)
        self.log.set_condition(now, "deadman", released, "the deadman switch is not held")
        if not (self.emergency or released or self._halted):
            return ""
        if self.trajectory.newest_chunk is not None:
            self._halt(now, self.emergency.cause or "the deadman switch was let go")
        elif (self.emergency or released) and self.mode not in ("emergency", "released"):
            self.inference_client.discard_pending(now, self.emergency.cause or "the deadman switch was let go")
        self._follower.brake()
        self._follower.restart_hold_timeout(now)
        self._halted = self._halted and not self.limiter.resting
        return "emergency" if self.emergency else "released" if released else "stop"

    # -- the model ---------------------------------------------------------------------------------

    def _request_inference(self, now: float) -> None:
        if self.mode in ("emergency", "released") or self._halted:
            return
        kind = self.inference_client.next_request_kind(now, self.robot.reward, self._chunk_due(now))
        if kind == "reset":
            self.inference_client.submit_request(now, "reset")
        elif kind and self.observation_monitor.ready_to_capture(now) and not self.robot.ended:
            self._request_with_observation(now, kind)

    def _chunk_due(self, now: float) -> bool:
        newest = self.trajectory.newest_chunk
        if newest is None or not self.trajectory.has_actions(now):
            return True
        if self._sync:
            return False
        # Not so late that the old chunk ends before the new one is there.
        period, delay = self.inference_client.period, self.inference_client.inference_delay
        followed = min(self.settings.n_action_steps * period, newest.last_action_time - newest.start - delay * period)
        return now >= newest.start + followed - 1e-9

    def _request_with_observation(self, now: float, kind: str) -> None:
        sample = self.robot.observe(now, "world" in self.spec.observation_keys)
        if not self.clock.simulated:
            self.latency_stats.add("capture", self.clock.now() - now)
        if self.observation_monitor.cameras_faulty(sample, now):
            return
        keys = {*self.spec.observation_keys, "state", "instruction"}
        seen = {key: value for key, value in sample.observation.items() if key in keys}
        context = self.observation_monitor.policy_context(sample)
        if kind == "plan":
            self.inference_client.submit_request(now, "plan", observation=seen, context=context, taken=sample.taken)
            return
        horizon = max(self.spec.horizon, 1)
        remaining = None
        if not self._sync:
            remaining = self.trajectory.remaining_actions(sample.taken, horizon)
        measured = np.asarray(seen["state"][:POSE], dtype=np.float64)
        inference_delay = 0
        if remaining is not None and self.settings.chunking_mode != "ensemble":
            inference_delay = min(self.inference_client.inference_delay, len(remaining))
        job = self.inference_client.submit_request(
            now,
            "chunk",
            observation=seen,
            context=context,
            taken=sample.taken,
            prefix=action_prefix(self.spec, remaining, measured),
            inference_delay=inference_delay,
        )
        commanded = self.observation_monitor.command_at(sample.taken + self.settings.period)
        self._arm_snapshots = {job.number: ArmSnapshot.from_robot(measured, commanded, remaining)}

    def _accept_chunk(self, now: float, job: InferenceRequest, decision: Decision) -> None:
        """Let a chunk take over, if it is sound and still of use."""
        self.episode_over = self.episode_over or str(getattr(decision, "over", ""))
        snapshot = self._arm_snapshots.pop(job.number)
        joined = self.chunk_handover.accept_chunk(
            now, job.taken, decision, snapshot, self.limiter.pose, self._follower.chunks + 1
        )
        if joined is None:
            return
        self._follower.add_chunk(joined)
        self.latency_stats.delays.append(math.ceil((now - job.taken) / self.inference_client.period - 1e-6))
        self.latency_stats.chunks.append((job.taken, now))
        self.progress = float(decision.progress)
        self.inference_client.note_progress(job, decision.progress)
        if decision.planned:
            self.inference_client.note_new_subtask(now, decision.way)
            self.subgoal = decision.subgoal
            self.on_subtask(decision.subtask)
