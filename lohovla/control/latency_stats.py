"""Where the time goes: durations by stage, punctuality of the commands, and a summary of an episode in numbers."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lohovla.control.event_log import EventLog

STAGES = ("capture", "encode", "plan", "act", "reply", "command")
_PERCENTILES = (50, 90, 99)


class LatencyStats:
    """Durations and counts of one episode; all in seconds until they are summed up in milliseconds.

    Stages: ``capture`` (taking an observation), ``encode``, ``plan`` and ``act`` (the model's own time),
    ``reply`` (from the observation until the chunk joins), ``command`` (computing and sending one command).
    """

    def __init__(self) -> None:
        self.stages: dict[str, list[float]] = defaultdict(list)
        self.command_lateness: list[float] = []  # of each command's start
        self.command_times: list[float] = []  # when each command was sent
        self.real_time_priority = False  # whether the commands had real-time priority
        self.missed_commands = 0  # commands that were due and never sent
        self.delays: list[int] = []  # actions that passed while each chunk was computed
        self.chunks: list[tuple[float, float]] = []  # observation taken, chunk joined
        self.modes: list[tuple[float, str]] = []  # what the loop did from when on
        self.handover_jumps: list[float] = []  # m, leap of the commanded path where a chunk joined

    def add(self, stage: str, seconds: float) -> None:
        """Note that a stage took that long."""
        self.stages[stage].append(seconds)

    def add_timing(self, timing: Mapping[str, float] | None, stage: str, seconds: float) -> None:
        """Note the model's own account, in milliseconds by stage; without one, the whole goes to ``stage``."""
        known = {name: ms for name, ms in (timing or {}).items() if name in STAGES}
        for name, ms in known.items():
            self.add(name, ms / 1000.0)
        if stage not in known:
            self.add(stage, max(seconds - sum(known.values()) / 1000.0, 0.0))

    def start_command(self, due: float, now: float) -> None:
        """A command begins that was due at ``due``."""
        self.command_lateness.append(now - due)

    def send_command(self, now: float) -> None:
        """It is sent."""
        self.command_times.append(now)

    def summary(self, log: EventLog, command_hz: float) -> dict[str, Any]:
        """Everything as plain numbers: milliseconds, counts, events."""
        gaps = np.diff(self.command_times) if len(self.command_times) > 1 else np.zeros(0)
        jitter = np.abs(gaps - 1.0 / command_hz)
        return {
            "stages_ms": {stage: latency_percentiles(self.stages[stage]) for stage in STAGES if self.stages[stage]},
            "commands": {
                "count": len(self.command_times),
                "missed": self.missed_commands,
                "real_time_priority": self.real_time_priority,
                "late_ms": latency_percentiles(self.command_lateness),
                "jitter_ms": latency_percentiles(jitter),
            },
            "chunks": {
                "count": len(self.chunks),
                "delay_actions": {str(d): self.delays.count(d) for d in sorted(set(self.delays))},
                "largest_leap_mm": round(1000.0 * max(self.handover_jumps, default=0.0), 3),
            },
            "events": {
                "counts": dict(sorted(log.counts.items())),
                "list": [{"time": e.time, "kind": e.kind, "cause": e.cause} for e in log.events],
            },
        }


def latency_percentiles(seconds: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Percentiles, mean and largest of durations, in milliseconds."""
    values = 1000.0 * np.asarray(seconds, dtype=np.float64)
    if not len(values):
        return {"count": 0}
    marks = np.percentile(values, _PERCENTILES)
    numbers = {f"p{p}": float(v) for p, v in zip(_PERCENTILES, marks, strict=True)}
    numbers |= {"mean": float(values.mean()), "max": float(values.max())}
    return {"count": len(values), **{k: round(v, 3) for k, v in numbers.items() if math.isfinite(v)}}
