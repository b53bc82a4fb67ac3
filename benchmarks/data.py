"""Speed of demonstrations: recording them, and reading training samples from many of them.

``collect`` is measured with video, a process a core, in both control modes. The reader is measured over a set
of many episodes, so that hardly any two samples share a file that is already open.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lohovla.benchmarks.bench_utils import emit
from lohovla.collect.collect_dataset import CollectConfig, collect
from lohovla.data.loader import make_loader
from lohovla.data.reader import LeRobotDatasetReader
from lohovla.errors import UserError

_BATCH = 64


def run(task: str, episodes: int, seconds: float, workers: int | None) -> dict[str, Any]:
    """Record ``episodes`` with ``pick_place`` and a twentieth of it with ``ee``, then read for ``seconds``."""
    if episodes < 20:
        raise UserError(f"demonstrations must be at least 20, not {episodes}", "demonstrations=1000 is the default")
    with tempfile.TemporaryDirectory(prefix="lohovla-") as folder:
        return _measure(task, episodes, seconds, workers or os.cpu_count() or 1, Path(folder))


def _measure(task: str, episodes: int, seconds: float, workers: int, folder: Path) -> dict[str, Any]:
    rates = {}
    for control, number in (("ee", episodes // 20), ("pick_place", episodes)):
        plan = CollectConfig(
            folder / control, (task,), number, 0, "oracle", {"control": control}, {}, False, "local", workers
        )
        began = time.perf_counter()
        with tqdm(total=number, unit="episode", disable=None, leave=False) as bar:
            collect(plan, bar.update)
        rates[control] = 60 * number / (time.perf_counter() - began) / workers
        wanted = 5 if control == "ee" else 15
        print(f"collect {control:12s} {rates[control]:8.1f} demonstrations/min/core   wanted {wanted}")
    reading = {name: _read(folder / name, workers, seconds) for name in ("pick_place", "ee")}
    for name, rate in reading.items():
        print(f"read {name:15s} {rate:8.1f} samples/s on {workers} cores    wanted 500")
    return emit(
        "data",
        "training samples read from a pick_place set",
        reading["pick_place"],
        "samples/s",
        episodes=episodes,
        workers=workers,
        task=task,
        figures={
            **{f"collect {k}, demonstrations/min/core": round(v, 1) for k, v in rates.items()},
            **{f"read {k}, samples/s": round(v, 1) for k, v in reading.items()},
        },
    )


def _read(root: Path, workers: int, seconds: float) -> float:
    """Samples a second of shuffled batches with all cameras, depth and an action chunk."""
    loader = iter(make_loader(LeRobotDatasetReader(root), _BATCH, workers=workers, seed=1))
    for _ in range(4 * workers):  # what was prefetched while the workers started
        next(loader)
    samples, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        samples += len(next(loader)["instruction"])
    return samples / (time.perf_counter() - began)
