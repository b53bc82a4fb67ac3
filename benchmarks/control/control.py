"""The control loop: ways to join chunks against the model's delay, punctuality beside the running model, faults."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from omegaconf import OmegaConf

from lohovla.benchmarks.bench_utils import emit
from lohovla.control.settings import CHUNKING_MODES
from lohovla.errors import UserError
from lohovla.evaluate.protocol import seeds_of
from lohovla.evaluate.report.svg_plots import line_plot
from lohovla.evaluate.statistics import wilson
from lohovla.parallel_jobs import run_jobs

STUDIES = ("joins", "jitter", "faults", "all")
_BLIND = ("chunked-oracle", "oracle", "random-waypoints", "random")  # policies that look at no picture
_BATCH = 5  # episodes of a job
_COMMAND_HZ = 100.0


class Trial(NamedTuple):
    """One episode of the study of joins.

    Attributes:
        join: how chunks were joined.
        delay: s that plans and chunks took.
        success: whether the goal stood at the end.
        seconds: simulated, until the end.
        leap: m, the largest leap of the path where a chunk joined.
        roughness: m/s^3, root mean square of the jerk of the commanded tool.
        holds: times that the arm had to wait for a chunk (``sync`` always does, and is not counted).
    """

    join: str
    delay: float
    success: bool
    seconds: float
    leap: float
    roughness: float
    holds: int


def run(config: Any, folder: Path) -> dict[str, Any]:
    """Run the studies that ``config.study`` names; figures and plots go to ``folder``."""
    if config.study not in STUDIES:
        raise UserError(f"there is no study {config.study!r}", f"choose one of {', '.join(STUDIES)}")
    figures: dict[str, Any] = {}
    if config.study in ("joins", "all"):
        figures["joins"] = joins(config, folder)
    if config.study in ("jitter", "all"):
        figures["jitter"] = [jitter(_policy(config), config.task, float(rate), config.seconds) for rate in config.rates]
    if config.study in ("faults", "all"):
        figures["faults"] = faults(int(config.faults), config.workers)
    metric, value, unit = _headline(figures)
    return emit("control", metric, value, unit, policy=config.policy.name, task=config.task, figures=figures)


def _headline(figures: Mapping[str, Any]) -> tuple[str, float, str]:
    if "jitter" in figures:
        first = figures["jitter"][0]
        return f"jitter p99 of commands at {first['command_hz']:g} Hz beside the model", first["jitter_ms"]["p99"], "ms"
    if "joins" in figures:
        rows = figures["joins"]
        return "success, lowest of all joins and delays", min(row["success"] for row in rows), "share"
    return "episodes with a limit exceeded or a stop too late", float(figures["faults"]["bad"]), "episodes"


# -- joins -------------------------------------------------------------------------------------------


def joins(config: Any, folder: Path) -> list[dict[str, Any]]:
    """Success, duration, smoothness for every join and delay; a table, and plots as ``joins-*.svg``."""
    unknown = [name for name in config.chunking_modes if name not in CHUNKING_MODES]
    if unknown or not config.chunking_modes or not config.delays or config.trials < 1:
        raise UserError(
            f"chunking_modes={list(config.chunking_modes)}, delays={list(config.delays)}, trials={config.trials}",
            f"give some of {', '.join(CHUNKING_MODES)}, delays in s, and at least one trial",
        )
    seeds = seeds_of("test", config.trials)
    batches = [seeds[k : k + _BATCH] for k in range(0, len(seeds), _BATCH)]
    jobs = [
        (_policy(config), config.task, join, float(delay), batch)
        for delay in config.delays
        for join in config.chunking_modes
        for batch in batches
    ]
    began, results = time.perf_counter(), defaultdict(list)
    for count, trials in enumerate(run_jobs(_play, jobs, "local", config.workers), start=1):
        for trial in trials:
            results[trial.join, trial.delay].append(trial)
        print(f"\r{count} of {len(jobs)} jobs, {time.perf_counter() - began:.0f} s", end="", flush=True)
    print()
    rows = [_row(join, float(d), results[join, float(d)]) for join in config.chunking_modes for d in config.delays]
    _print(rows)
    for name, key, unit, high in (
        ("success", "success", "share solved", 1.0),
        ("seconds", "seconds", "s to the end", 0.0),
    ):
        series = {j: [(1000 * r["delay"], r[key]) for r in rows if r["join"] == j] for j in config.chunking_modes}
        top = high or float(np.ceil(max(r[key] for r in rows)))
        text = line_plot(series, "delay of the model, ms", unit, top)
        (folder / f"joins-{name}.svg").write_text(text, encoding="utf-8")
    (folder / "joins.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return rows


def _policy(config: Any) -> tuple[str, dict[str, Any]]:
    """Its name and its own settings."""
    from lohovla.policies.registry import split_settings

    chosen: Any = OmegaConf.to_container(config.policy)
    return split_settings(chosen)


def _play(job: tuple[tuple[str, dict[str, Any]], str, str, float, Sequence[int]]) -> list[Trial]:
    (policy, own), task, join, delay, seeds = job
    import torch

    from lohovla.envs.env import BlocksEnv
    from lohovla.evaluate.realtime_episodes import RealtimeEpisodes

    torch.set_num_threads(1)  # a process a core: threads of theirs would wait for each other
    settings: dict[str, Any] = {"control": "ee", "control_hz": _COMMAND_HZ}
    if policy in _BLIND:
        settings["cameras"] = {}
    loop = {
        "clock": "simulated",
        "delay": {"plan": delay, "chunk": delay},
        "chunking_mode": join,
        "command_hz": _COMMAND_HZ,
    }
    realtime, env = RealtimeEpisodes(policy, task, settings, loop, own), BlocksEnv(task=task, **settings)
    trials = []
    for seed in seeds:
        path: list[np.ndarray] = []
        result, ran = realtime.episode(env, seed, lambda loop, play, path=path: path.append(loop.limiter.pose[:3]))
        jerk = np.diff(np.array(path), 3, axis=0) * _COMMAND_HZ**3
        rough = float(np.sqrt((jerk**2).sum(1).mean())) if len(jerk) else 0.0
        leap = max(ran.latency_stats.handover_jumps, default=0.0)
        holds = ran.log.counts["hold"]
        trials.append(Trial(join, delay, result.success, result.simulated_seconds, leap, rough, holds))
    return trials


def _row(join: str, delay: float, trials: Sequence[Trial]) -> dict[str, Any]:
    won = sum(trial.success for trial in trials)
    low, high = wilson(won, len(trials))
    return {
        "join": join,
        "delay": delay,
        "episodes": len(trials),
        "solved": won,
        "success": round(won / len(trials), 4),
        "interval": [round(low, 4), round(high, 4)],
        "seconds": round(float(np.mean([trial.seconds for trial in trials])), 2),
        "largest leap mm": round(1000 * max(trial.leap for trial in trials), 2),
        "jerk m/s3": round(float(np.mean([trial.roughness for trial in trials])), 1),
        "holds": round(float(np.mean([trial.holds for trial in trials])), 2),
    }


def _print(rows: Sequence[Mapping[str, Any]]) -> None:
    print(f"{'join':12s} {'delay':>6s} {'solved':>9s} {'seconds':>8s} {'leap':>8s} {'jerk':>9s} {'holds':>6s}")
    for row in rows:
        print(
            f"{row['join']:12s} {1000 * row['delay']:3.0f} ms {row['solved']:4d}/{row['episodes']:<4d}"
            f" {row['seconds']:8.2f} {row['largest leap mm']:5.1f} mm {row['jerk m/s3']:9.1f} {row['holds']:6.2f}"
        )


# -- jitter ------------------------------------------------------------------------------------------


def jitter(chosen: tuple[str, dict[str, Any]], task: str, rate: float, seconds: float) -> dict[str, Any]:
    """Punctuality of commands on the wall clock while the model works in its own process, and its latency."""
    from lohovla.control.latency_stats import latency_percentiles
    from lohovla.envs.env import BlocksEnv
    from lohovla.evaluate.realtime_episodes import RealtimeEpisodes, environment_rate

    policy, own = chosen
    settings: dict[str, Any] = {"control": "ee", "control_hz": environment_rate(rate)}
    if policy in _BLIND:
        settings["cameras"] = {}
    realtime, env = (
        RealtimeEpisodes(policy, task, settings, {"command_hz": rate}, own),
        BlocksEnv(task=task, **settings),
    )
    stages: dict[str, list[float]] = defaultdict(list)
    gaps: list[float] = []
    late: list[float] = []
    missed = commands = 0
    try:
        seed, until = 10001, time.monotonic() + seconds
        while time.monotonic() < until:
            _, loop = realtime.episode(env, seed)
            stats, seed = loop.latency_stats, seed + 2
            gaps += np.abs(np.diff(stats.command_times) - 1.0 / rate).tolist()
            late += stats.command_lateness
            missed, commands = missed + stats.missed_commands, commands + len(stats.command_times)
            for stage, values in stats.stages.items():
                stages[stage] += values
    finally:
        realtime.close()
    figures = {
        "command_hz": rate,
        "commands": commands,
        "missed": missed,
        "jitter_ms": latency_percentiles(gaps),
        "late_ms": latency_percentiles(late),
        "stages_ms": {stage: latency_percentiles(values) for stage, values in stages.items()},
    }
    reply = figures["stages_ms"].get("reply", {})
    print(
        f"{rate:g} Hz: {commands} commands, {missed} missed; jitter ms p50 {figures['jitter_ms']['p50']:.3f}"
        f" p99 {figures['jitter_ms']['p99']:.3f} max {figures['jitter_ms']['max']:.3f};"
        f" chunk ms p50 {reply.get('p50', 0.0):.1f} p99 {reply.get('p99', 0.0):.1f}"
    )
    return figures


# -- faults ------------------------------------------------------------------------------------------


def faults(episodes: int, workers: int | None) -> dict[str, Any]:
    """Episodes of :mod:`lohovla.benchmarks.control.faults` by kind of fault."""
    from lohovla.benchmarks.control.faults import summarize

    if episodes < 1:
        raise UserError(f"faults must be at least 1, not {episodes}", "faults=2000 is the default")
    jobs = [range(k, min(k + 20, episodes)) for k in range(0, episodes, 20)]
    outcomes = [outcome for part in run_jobs(_suffer, jobs, "local", workers) for outcome in part]
    rows = summarize(sorted(outcomes, key=lambda outcome: outcome.fault))
    heads = ("episodes", "for good", "exceeded", "too late", "longest", "stated")
    print(f"{'fault':17s} " + " ".join(f"{head:>8s}" for head in heads))
    for row in rows:
        print(
            f"{row['fault']:17s} {row['episodes']:8d} {row['for good']:8d} {row['limits exceeded']:8d}"
            f" {row['too late']:8d} {row['longest s']:6.2f} s {row['stated s']:6.2f} s"
        )
    return {"episodes": episodes, "bad": sum(outcome.bad for outcome in outcomes), "rows": rows}


def _suffer(seeds: range) -> list[Any]:
    from lohovla.benchmarks.control.faults import play_with_fault

    return [play_with_fault(seed) for seed in seeds]
