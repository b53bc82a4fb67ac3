"""Episodes in which the world does not wait: the control loop drives the environment, the model runs beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from lohovla.control.clock import Clock, SimulatedClock, WallClock
from lohovla.control.inference.inference_messages import InferenceRequest
from lohovla.control.inference.inference_worker import WORKERS, BackgroundWorker, SimulatedWorker
from lohovla.control.loop import ControlLoop
from lohovla.control.safety.deadman_input import DeadmanInput, EmergencyKey
from lohovla.control.settings import LoopSettings
from lohovla.control.simulated_robots import SimulatedArm
from lohovla.errors import UserError
from lohovla.evaluate.episode_runner import EpisodeProgress, EpisodeResult, EpisodeRunner, SubtaskSpan
from lohovla.policies.base import Context, Policy

CLOCKS = ("wall", "simulated")
_CHUNKED = {"oracle": "chunked-oracle"}  # an oracle that thinks for one step is always late; this one gives chunks


@dataclass(frozen=True)
class VideoMoment:
    """What a film needs of a moment: the world's state, the sub-task and score, and the loop's own lines."""

    state: Any
    subtask: str
    score: float
    status: tuple[str, ...]


def build_policy(name: str, own: Mapping[str, Any], task: str, settings: Mapping[str, Any]) -> Policy:
    """The policy of that name, with settings of its ``own``, for a world; built without it, also in another process."""
    from lohovla.envs.env import BlocksEnv
    from lohovla.policies.registry import make_policy

    env = BlocksEnv(task=task, **settings)
    env.takes_any_rate = True  # the loop interpolates a chunk, of whatever rate, at its own
    return make_policy(_CHUNKED.get(name, name), env, **own)


def environment_rate(command_hz: float) -> float:
    """The highest rate at which the environment can take commands that come ``command_hz`` times a second."""
    from lohovla.envs.env_settings import CONTROL_RATES

    return max(rate for rate in CONTROL_RATES if rate <= max(command_hz, min(CONTROL_RATES)))


class RealtimeEpisodes:
    """Plays episodes in real time, or as if.

    Args:
        policy: its name; ``oracle`` is taken in chunks.
        task: the task's name.
        env: settings of the world, with ``control_hz`` from :func:`environment_rate`.
        loop: settings of the loop, with ``clock``, ``worker`` and ``delay``.
        own: settings of the policy.

    Raises:
        UserError: a setting is out of range, or the model did not start.
    """

    def __init__(
        self,
        policy: str,
        task: str,
        env: Mapping[str, Any],
        loop: Mapping[str, Any],
        own: Mapping[str, Any] | None = None,
    ):
        rest = dict(loop)
        clock, worker, delay = rest.pop("clock", "wall"), rest.pop("worker", "process"), dict(rest.pop("delay", {}))
        if clock not in CLOCKS:
            raise UserError(f"loop.clock cannot be {clock!r}", "choose wall or simulated")
        if worker not in WORKERS:
            raise UserError(f"loop.worker cannot be {worker!r}", "choose process or thread")
        if any(not 0.0 <= value < 60.0 for value in delay.values()):
            raise UserError(f"loop.delay cannot be {delay}", "plan and chunk are seconds, from 0 on")
        self.settings = LoopSettings.from_config(rest)
        make = partial(build_policy, policy, dict(own or {}), task, dict(env))
        self.clock: Clock
        if clock == "simulated":
            model = make()
            self.clock, self.spec = SimulatedClock(), model.spec
            self.worker: Any = SimulatedWorker(model, _delays(delay))
        else:
            self.clock, self.worker = WallClock(), BackgroundWorker(make, worker, self.settings.priority)  # type: ignore
            self.spec = self.worker.wait()
        self._warm = clock == "simulated"

    def episode(
        self,
        env: Any,
        seed: int,
        on_tick: Callable[[ControlLoop, EpisodeRunner], None] | None = None,
        on_subtask: Callable[[SubtaskSpan], None] | None = None,
    ) -> tuple[EpisodeResult, ControlLoop]:
        """Play one episode; returns its record, and the loop with its log and statistics.

        Args:
            env: a ``BlocksEnv`` of the same settings.
            seed: the episode's seed; the policy gets it too.
            on_tick: called after every command.
            on_subtask: called whenever the policy turns to another sub-task.
        """
        play = EpisodeRunner(env, seed, on_subtask=on_subtask)
        if not self._warm:
            self._warm_up(play)
        arm = SimulatedArm(env, play.record_step)  # type: ignore
        loop = ControlLoop(arm, self.spec, self.worker, self.settings, self.clock)
        loop.on_subtask = play.begin_subtask
        if on_tick is not None:
            loop.on_tick = lambda loop: on_tick(loop, play)
        loop.start(seed)
        loop.run(lambda: arm.ended or bool(loop.episode_over))
        return play.result(), loop

    def _warm_up(self, play: EpisodeRunner) -> None:
        """Let the model plan and act once before time counts: its first answers take seconds."""
        self._warm = True
        seen = {key: play.observation[key] for key in {*self.spec.observation_keys, "state", "instruction"} - {"world"}}
        context = Context(world=play.env.unwrapped.get_state() if "world" in self.spec.observation_keys else None)
        until = time.monotonic() + self.settings.safety.plan_timeout
        for number, kind in enumerate(("reset", "plan", "chunk"), start=1):
            guided = kind == "chunk" and self.settings.chunking_mode == "rtc"
            self.worker.submit(InferenceRequest(-number, kind, 0, 0.0, 0, seen, context, rtc_guided=guided), 0.0)
            while self.worker.state == "busy" and time.monotonic() < until:
                time.sleep(0.005)
            self.worker.poll(0.0)

    def close(self) -> None:
        """End the model's process."""
        self.worker.close()


def read_operator(loop: ControlLoop, hold: DeadmanInput) -> None:
    """After a command: hand on what a person at the keyboard, or a pipe, says."""
    now = loop.clock.now()
    try:
        if hold.held(now):
            loop.deadman.press(now)
    except EmergencyKey as pressed:
        loop.stop(str(pressed))


def _delays(delay: Mapping[str, float]) -> Callable[[InferenceRequest, float], float]:
    return lambda job, now: delay.get(job.kind, 0.0)


class Recorder:
    """Keeps what a film needs, ``fps`` times a second of the world's time, cheaply; to be drawn afterwards.

    Args:
        env: the environment.
        fps: frames a second.
    """

    def __init__(self, env: Any, fps: int):
        self._env, self._fps, self._next = env.unwrapped, fps, 0.0
        self.frames: list[VideoMoment] = []

    def __call__(self, loop: ControlLoop, play: EpisodeRunner) -> None:
        """After a command: keep the moment, if it is time for one."""
        if self._env.simulation.time + 1e-6 < self._next:
            return
        self._next += 1.0 / self._fps
        progress = play.progress
        self.frames.append(VideoMoment(self._env.get_state(), progress.subtask, progress.score, status_lines(loop)))

    def finish(self, loop: ControlLoop, play: EpisodeRunner) -> None:
        """Keep the last moment."""
        self._next = 0.0
        self(loop, play)

    def write_film(self, film: Any, instruction: str) -> None:
        """Write the frames to a ``EpisodeVideo``; the environment ends in the last state."""
        for index, frame in enumerate(self.frames):
            self._env.set_state(frame.state)
            film.status = frame.status
            if index == 0:
                film.start(EpisodeProgress(instruction, frame.subtask, frame.score), live=False)
            else:
                film.shoot(frame.subtask, frame.score)


def status_lines(loop: ControlLoop) -> tuple[str, str]:
    """Two lines: what the loop does, and how punctual it is."""
    reply = loop.latency_stats.stages["reply"][-1:] or [0.0]
    delay = loop.latency_stats.delays[-1:] or [0]
    late = 1000.0 * max(loop.latency_stats.command_lateness[-100:], default=0.0)
    events = sum(loop.log.counts.values())
    commands = len(loop.latency_stats.command_times)
    return (
        f"{loop.mode}   {loop.settings.chunking_mode}   chunk {1000 * reply[0]:.0f} ms, {delay[0]} actions late",
        f"{commands} commands, {loop.settings.command_hz:g} Hz, {late:.1f} ms late   {events} events",
    )
