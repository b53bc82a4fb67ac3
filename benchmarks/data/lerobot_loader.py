"""Run by LeRobot's own Python (it needs a torch of its own): samples a second of its loader, as JSON on the last line.

python lerobot_loader.py FOLDER CHUNK BATCH WORKERS SECONDS

As its trainer sets it up: shuffled, every camera, a chunk of actions with each frame.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset  # type: ignore[import-not-found]


def measure_loader(root: str, chunk: int, batch: int, workers: int, seconds: float) -> float:
    """Samples a second of shuffled batches, after those that were prefetched while the workers started."""
    fps = LeRobotDataset("own/set", root=root).fps
    data = LeRobotDataset("own/set", root=root, delta_timestamps={"action": [k / fps for k in range(chunk)]})
    options: dict[str, Any] = {"num_workers": workers, "prefetch_factor": 2 if workers else None}
    if getattr(data.meta, "has_language_columns", False):
        from lerobot.utils.collate import lerobot_collate_fn  # type: ignore[import-not-found]

        options["collate_fn"] = lerobot_collate_fn
    loader = torch.utils.data.DataLoader(data, batch_size=batch, shuffle=True, drop_last=False, **options)

    def endless() -> Any:
        while True:
            yield from loader

    batches = endless()
    for _ in range(2 * workers + 1):
        next(batches)
    samples, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        samples += len(next(batches)["index"])
    return samples / (time.perf_counter() - began)


if __name__ == "__main__":
    folder, *numbers, duration = sys.argv[1:]
    print(json.dumps(measure_loader(folder, *map(int, numbers), float(duration))))  # type: ignore[arg-type]
