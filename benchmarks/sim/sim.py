"""Speed of the environment: steps a second a core, actions a second a core, memory, and where the time goes.

One process a core runs at once, so that the figures hold while all cores are busy. Actions are those of the
oracle, so that blocks are really carried; its planning is not counted.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import time
from dataclasses import dataclass
from typing import Any

from lohovla.benchmarks.bench_utils import emit, median
from lohovla.errors import UserError

_WINDOW = 50  # steps a sample


@dataclass(frozen=True)
class SimulatorCase:
    """One figure: a control mode with or without cameras, and what is asked of it."""

    name: str
    control: str
    cameras: bool
    unit: str
    wanted: float
    aim: float


CASES = (
    SimulatorCase("ee with cameras", "ee", True, "steps/s/core", 200.0, 300.0),
    SimulatorCase("ee without cameras", "ee", False, "steps/s/core", 500.0, 1000.0),
    SimulatorCase("pick_place with cameras", "pick_place", True, "actions/s/core", 5.0, 5.0),
)


def run(task: str, seconds: float, workers: int | None, profile: bool) -> dict[str, Any]:
    """Measure every case and print a table and the JSON line."""
    if seconds <= 0:
        raise UserError(f"seconds must be above 0, not {seconds}", "seconds=6 is the default")
    workers = workers or os.cpu_count() or 1
    figures: dict[str, dict[str, float]] = {}
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers, maxtasksperchild=1) as pool:
        for case in CASES:
            parts = pool.map(_measure, [(case, task, seconds, 10001 + 2 * k) for k in range(workers)], chunksize=1)
            samples = [sample for part in parts for sample in part["samples"]]
            stages = {key: median([part["stages"][key] for part in parts]) for key in parts[0]["stages"]}
            figures[case.name] = {
                "rate": median(samples),
                "wanted": case.wanted,
                "aim": case.aim,
                "memory_mb": max(part["memory_mb"] for part in parts),
                **{f"{key}_ms": value for key, value in stages.items()},
            }
            rate = figures[case.name]["rate"]
            print(f"{case.name:26s} {rate:8.1f} {case.unit:15s} wanted {case.wanted:g}, aim {case.aim:g}")
            print("    " + ", ".join(f"{key} {value:.3f} ms" for key, value in stages.items()))
    memory = max(figure["memory_mb"] for figure in figures.values())
    print(f"{'memory of a process':26s} {memory:8.1f} MB              wanted at most 300")
    if profile:
        _profile(task, seconds)
    first = figures[CASES[0].name]
    # The floor: what physics and the two renders take by themselves, with no Python between them.
    floor = 1000.0 / (first["physics_ms"] + first["render_ms"])
    return emit(
        "sim",
        "ee steps with top 320x160 colour and depth and wrist 128x128",
        first["rate"],
        "steps/s/core",
        floor=round(floor, 1),
        ratio=round(first["rate"] / floor, 3),
        workers=workers,
        task=task,
        memory_mb=round(memory, 1),
        figures={name: {k: round(v, 4) for k, v in figure.items()} for name, figure in figures.items()},
    )


def _measure(job: tuple[SimulatorCase, str, float, int]) -> dict[str, Any]:
    """Run one case in this process: rates of windows of steps, milliseconds by stage, peak memory."""
    case, task, seconds, seed = job
    from lohovla.envs.env import BlocksEnv
    from lohovla.envs.oracle import Oracle

    env = BlocksEnv(task=task, control=case.control, cameras=None if case.cameras else {})
    oracle = Oracle(env)
    window = _WINDOW if case.control == "ee" else 3
    stages = {"physics": 0.0, "render": 0.0, "step": 0.0}
    _instrument(env, stages)
    samples: list[float] = []
    steps = 0
    began = time.perf_counter()
    env.reset(seed=seed)
    ended = False
    while time.perf_counter() - began < seconds or not samples:
        spent = done = 0.0
        while done < window:
            if ended:
                seed += 2 * (os.cpu_count() or 1)
                env.reset(seed=seed)
                oracle.reset()
                ended = False
            action = oracle.act()
            start = time.perf_counter()
            _, _, terminated, truncated, _ = env.step(action)
            spent += time.perf_counter() - start
            done += 1
            ended = terminated or truncated
        steps += window
        stages["step"] += spent
        samples.append(window / spent)
    stages["other"] = stages.pop("step") - stages["physics"] - stages["render"]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "samples": samples[1:] or samples,
        "memory_mb": memory,
        "stages": {k: 1000 * v / steps for k, v in stages.items()},
    }


def _instrument(env: Any, stages: dict[str, float]) -> None:
    """Add up the time inside MuJoCo's step and inside rendering."""
    import mujoco

    import lohovla.envs.sensors as sensors

    def timed(function: Any, stage: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            stages[stage] += time.perf_counter() - start
            return result

        return call

    for module, name, stage in (
        (mujoco, "mj_step", "physics"),
        (sensors, "render_camera_picture", "render"),
        (sensors, "render_color", "render"),
    ):
        setattr(module, name, timed(getattr(module, name), stage))


def _profile(task: str, seconds: float) -> None:
    """Print the functions that take the most time of the first case."""
    import cProfile
    import pstats

    profiler = cProfile.Profile()
    profiler.runcall(_measure, (CASES[0], task, seconds, 10001))
    pstats.Stats(profiler).sort_stats("tottime").print_stats(18)
