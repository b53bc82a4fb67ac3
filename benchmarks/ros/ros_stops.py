"""How far a robot still goes when something between the policy and its controllers breaks.

The robot (simulated world, controllers, the ROS graph), the guard, the rosbridge server's connection and the client are
a process each. The client drives the tool along y at 0.25 m/s, as the bridge's own commander makes its commands; then
one thing breaks, and the robot's process measures where the tool goes. The guard and the robot share a ROS that lives
on, as nodes of one machine do; the rosbridge server is the process that carries the client's connection.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from lohovla.benchmarks.bench_utils import emit, markdown_table
from lohovla.benchmarks.ros.stop_parts import client, guard, robot, wire
from lohovla.errors import UserError
from lohovla.ros.guard.guard_profile import guard_settings

SPEED = 0.25  # m/s
_LIMITS = {"velocity": SPEED, "acceleration": 1.5, "jerk": 20.0, "low": [0.25, -0.6, 0.0], "high": [0.75, 0.6, 0.5]}
_TOPICS = {
    "pose": "/sim/tool_target",
    "twist": "/sim/tool_twist",
    "trajectory": "/sim/joint_trajectory",
    "joint_position": "/sim/joint_positions",
    "joint_velocity": "/sim/joint_velocities",
}
FAULTS = ("client killed", "rosbridge killed", "cable out", "guard killed", "clock +5 s", "clock -5 s")
_FROM, _WATCH = 0.08, 1.3  # m from home at which it breaks, s that are watched then: 0.325 m at full speed
_BEHIND = 0.05  # s that the world may fall behind real time meanwhile; else it is tried again,
_TRIES = 4  # so often
_STILL, _SPAN = 0.004, 0.05  # m/s that count as rest, over so many seconds
_MOVES = 0.03  # m/s that count as motion: an arm that comes to rest swings a little
_WANTED = 60.0  # mm


def run(kinds: list[str], trials: int) -> dict[str, Any]:
    """Measure every row ``trials`` times; print a table and the JSON line."""
    if unknown := [kind for kind in kinds if kind not in _TOPICS]:
        raise UserError(f"there is no kind of command {unknown[0]!r}", f"choose one of {', '.join(_TOPICS)}")
    if not 1 <= trials <= 100:
        raise UserError(f"trials must be from 1 to 100, not {trials}", "trials=3 tells how much runs differ")
    rows = []
    for kind in kinds:
        for timeout in (0.1, 0.0) if kind in ("twist", "joint_velocity") else (0.0,):
            for guarded in (False, True):
                rows += _measure(kind, timeout, guarded, trials)
    print(markdown_table(rows))
    killed = [row["mm"] for row in rows if row["guard"] and row["fault"] == "client killed"]
    return emit(
        "ros-stops",
        "with the guard, client killed at 0.25 m/s: way to rest, largest of all kinds of commands",
        max(killed),
        "mm",
        wanted=_WANTED,
        load=round(os.getloadavg()[0], 1),
        trials=trials,
        rows=rows,
    )


def _profile(kind: str, timeout: float) -> Any:
    from omegaconf import OmegaConf

    from lohovla.ros.robot.robot_profile import Profile
    from lohovla.settings.hydra_config import compose

    settings: Any = OmegaConf.to_container(compose("ros", ["robot=sim"]).robot)
    settings["command"] |= {"kind": kind, "topic": _TOPICS[kind], "timeout": timeout, "gain": 3.0}
    settings["guard"] |= {"ttl": 0.1 if kind in ("twist", "joint_velocity") else 0.2, "brake": 2.0}
    settings |= {"command_hz": 100.0, "loop": {"limits": _LIMITS}}
    return Profile.from_config(settings)


def _measure(kind: str, timeout: float, guarded: bool, trials: int) -> list[dict[str, Any]]:
    """The rows of one kind of commands, with the guard or without."""
    from lohovla.control.settings import LoopSettings

    profile = _profile(kind, timeout)
    limits = LoopSettings.from_config(profile.loop_settings({})).limits
    settings = guard_settings(profile, limits, "always").as_json() if guarded else None
    rows = []
    for fault in FAULTS:
        if fault == "guard killed" and not guarded:
            continue
        found = [_trial(lambda: _Stage(profile, limits, settings, timeout), fault) for _ in range(trials)]
        rows.append(_row(kind, timeout, guarded, fault, found))
        print(" ".join(f"{key}: {value}," for key, value in rows[-1].items()).rstrip(","), flush=True)
    return rows


def _trial(stage: Callable[[], Any], fault: str) -> dict[str, Any]:
    """The trial in which the world kept up with real time, or of several that in which it did best."""
    best, why = None, None
    for _ in range(_TRIES):
        try:
            one = stage()
            try:
                found = one.play(fault)
            finally:
                one.close()
        except UserError as error:
            why = error
            continue
        best = found if best is None or found["behind"] < best["behind"] else best
        if best["behind"] <= _BEHIND:
            break
    if best is None:
        assert why is not None
        raise why
    return best


def _row(kind: str, timeout: float, guarded: bool, fault: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    rests = [one for one in found if one["rests"]]
    largest = max(one["mm"] for one in found)
    median = statistics.median(one["mm"] for one in found)
    clock = fault.startswith("clock")
    goes_on = "goes on as commanded" if clock else f"does not stop within {_WATCH:g} s"
    return {
        "commands": kind,
        "controller's time-out": timeout,
        "guard": guarded,
        "fault": fault,
        "what happens": "comes to rest" if len(rests) == len(found) else goes_on,
        "mm": round(largest, 1),
        "median mm": round(median, 1),
        "s": round(max(one["s"] for one in found), 2),
        "starts again": max(one["again"] for one in found),
        "world behind, s": round(max(one["behind"] for one in found), 2),
    }


class _Stage:
    """All processes of one trial."""

    def __init__(self, profile: Any, limits: Any, settings: dict[str, Any] | None, timeout: float):
        self._context = multiprocessing.get_context("spawn")
        self._started: list[Any] = []
        self._where = self._context.Array("d", 3)
        self._offset = self._context.Value("d", 0.0)
        self._pipe, theirs = self._context.Pipe()
        self._start(robot, theirs, timeout, self._where)
        url = self._hear(self._pipe)
        self._guard: Any = self._ready(guard, url, settings) if settings is not None else None
        ours, theirs = self._context.Pipe()
        self._wire = self._start(wire, url, theirs)
        self._carried = self._hear(ours)
        self._profile, self._limits = profile, limits
        self._guarded = settings is not None

    def _start(self, target: Callable[..., None], *args: Any) -> Any:
        process = self._context.Process(target=target, args=args, daemon=True)
        process.start()
        self._started.append(process)
        return process

    def _ready(self, target: Callable[..., None], *args: Any) -> Any:
        ours, theirs = self._context.Pipe()
        process = self._start(target, *args, theirs)
        self._hear(ours)
        return process

    def _hear(self, pipe: Any) -> Any:
        if not pipe.poll(60.0):
            raise UserError("a part of the measurement did not start", "this machine is too busy to measure on")
        return pipe.recv()

    def play(self, fault: str) -> dict[str, Any]:
        """Drive, break, watch; what came of it."""
        limits = dataclasses.asdict(self._limits)
        process = self._ready(client, self._carried, self._profile, limits, self._guarded, self._offset)
        until = time.monotonic() + 30.0
        while not (self._where[1] > _FROM and self._where[2] > 0.9 * SPEED):
            if time.monotonic() > until:
                raise UserError("the arm did not get under way", "this machine is too busy to measure on")
            time.sleep(0.001)
        moment = time.monotonic()
        self._break(fault, process)
        time.sleep(_WATCH)
        self._pipe.send("end")
        samples, behind = self._hear(self._pipe)
        return {**judge_stop(samples, moment), "behind": behind[-1] - behind[np.searchsorted(samples[:, 0], moment)]}

    def _break(self, fault: str, process: Any) -> None:
        if fault == "client killed":
            os.kill(process.pid, signal.SIGKILL)
        elif fault == "rosbridge killed":
            os.kill(self._wire.pid, signal.SIGKILL)
        elif fault == "cable out":  # nothing comes through, and nobody is told
            os.kill(self._wire.pid, signal.SIGSTOP)
        elif fault == "guard killed":
            os.kill(self._guard.pid, signal.SIGKILL)
        else:
            self._offset.value = 5.0 if "+" in fault else -5.0

    def close(self) -> None:
        """End all that runs."""
        for process in self._started:
            process.kill()
            process.join(5.0)


def judge_stop(samples: np.ndarray, moment: float) -> dict[str, Any]:
    """What became of a motion after ``moment``.

    Args:
        samples: time (s) and place of the tool (m), (n, 4).
        moment: s.

    Returns:
        ``rests``, whether it is at rest at the end; ``mm`` and ``s`` until then, or until the end; ``again``, how often
        it set off again after it had come to rest.
    """
    times, places = samples[:, 0], samples[:, 1:]
    after = np.searchsorted(times, moment)
    before = np.maximum(np.searchsorted(times, times - _SPAN), 0)
    spans = np.maximum(times - times[before], 1e-3)
    speeds = np.linalg.norm(places - places[before], axis=1) / spans
    late = speeds[after:]
    still = late < _STILL
    moving = np.flatnonzero(~still)
    rests = bool(still[-1])
    last = after + (moving[-1] if len(moving) else 0) if rests else len(times) - 1
    steps = np.linalg.norm(np.diff(places[after : last + 1], axis=0), axis=1)
    return {
        "rests": rests,
        "mm": 1000.0 * float(steps.sum()),
        "s": float(times[last] - moment),
        "again": _starts(late),
    }


def _starts(speeds: np.ndarray) -> int:
    """How often speeds (n,) rise from rest."""
    rested, starts = False, 0
    for speed in speeds:
        if speed < _STILL:
            rested = True
        elif rested and speed > _MOVES:
            rested, starts = False, starts + 1
    return starts
