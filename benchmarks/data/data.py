"""Speed of demonstrations: recording them, decoding their pictures once, and picking training samples from these.

``collect`` is measured with video, a process a core, in both control modes. Reading is measured over each of these sets
as `lohovla train` does it, and beside it LeRobot's loader over the same files on the same cores, where
``LOHOVLA_TEST_LEROBOT`` names a Python that has it.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from lohovla.benchmarks.bench_utils import emit, median
from lohovla.collect.collect_dataset import CollectConfig, collect
from lohovla.data.training_set import DatasetChoice, TrainingSet
from lohovla.errors import UserError
from lohovla.progress import progress

_BATCH, _CHUNK, _HEIGHT, _ROUNDS = 64, 16, 96, 3


def run(task: str, episodes: int, seconds: float, workers: int | None) -> dict[str, Any]:
    """Record ``episodes`` with ``pick_place`` and a twentieth of it with ``ee``, then read for ``seconds``."""
    if episodes < 20:
        raise UserError(f"demonstrations must be at least 20, not {episodes}", "demonstrations=1000 is the default")
    with tempfile.TemporaryDirectory(prefix="lohovla-") as folder:
        return _measure(task, episodes, seconds, workers or os.cpu_count() or 1, Path(folder))


def _measure(task: str, episodes: int, seconds: float, workers: int, folder: Path) -> dict[str, Any]:
    figures: dict[str, float] = {}
    ratios = {}
    for control, number in (("ee", episodes // 20), ("pick_place", episodes)):
        plan = CollectConfig(
            folder / control, (task,), number, 0, "oracle", {"control": control}, {}, False, "local", workers
        )
        began = time.perf_counter()
        with progress(total=number, unit="episode", leave=False) as bar:
            collect(plan, bar.update)
        figures[f"collect {control}, demonstrations/min/core"] = 60 * number / (time.perf_counter() - began) / workers
    for control in ("ee", "pick_place"):
        root = folder / control
        began = time.perf_counter()
        data = _opened(root, folder / "cache")
        pictures = data.frames * len(data.features.cameras)
        figures[f"open {control} at first, pictures/s"] = pictures / (time.perf_counter() - began)
        began = time.perf_counter()
        data = _opened(root, folder / "cache")
        figures[f"open {control} again, s"] = time.perf_counter() - began
        rates = [(_read(data, seconds), _read_by_lerobot(root, workers, seconds)) for _ in range(_ROUNDS)]
        figures[f"read {control}, samples/s"] = median([own for own, _ in rates])
        others = [other for _, other in rates if other is not None]
        if others:
            figures[f"read {control} by lerobot, samples/s"] = median(others)
            ratios[control] = median([own / other for own, other in rates if other])
    for name, value in figures.items():
        print(f"{name:48s} {value:10.1f}")
    more = {"baseline": "lerobot's loader", "ratio": round(ratios["ee"], 2)} if ratios else {}
    return emit(
        "data",
        "training samples read from an ee set",
        figures["read ee, samples/s"],
        "samples/s",
        **more,
        episodes=episodes,
        workers=workers,
        task=task,
        image_height=_HEIGHT,
        figures={name: round(value, 1) for name, value in figures.items()},
    )


def _opened(root: Path, cache: Path) -> TrainingSet:
    return TrainingSet.open(
        [DatasetChoice(str(root))],
        rename={},
        cameras=None,
        image_height=_HEIGHT,
        chunk_size=_CHUNK,
        held_out=0.0,
        seed=1,
        cache=cache,
    )


def _read(data: TrainingSet, seconds: float) -> float:
    """Samples a second of shuffled batches with all cameras and an action chunk, picked ahead by a thread."""
    batches = data.prefetched(0, _BATCH)
    next(batches)
    samples, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        samples += len(next(batches)["instruction"])
    rate = samples / (time.perf_counter() - began)
    batches.close()
    return rate


def _read_by_lerobot(root: Path, workers: int, seconds: float) -> float | None:
    python = os.environ.get("LOHOVLA_TEST_LEROBOT")
    if not python:
        return None
    program = Path(__file__).with_name("lerobot_loader.py")
    words = [python, str(program), str(root), str(_CHUNK), str(_BATCH), str(workers), str(seconds)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(root.parent / "hf")}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise UserError(f"lerobot cannot read {root}: {said:.200}", "unset LOHOVLA_TEST_LEROBOT to measure without it")
    return float(json.loads(done.stdout.splitlines()[-1]))
