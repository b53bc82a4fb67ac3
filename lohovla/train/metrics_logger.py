"""What training says of itself: lines of JSON, TensorBoard's curves, and those of a tracker."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lohovla.output_folder import write_atomically
from lohovla.settings.renamed_settings import new_stage
from lohovla.train.tracking import Tracking

METRICS = "metrics.jsonl"


class MetricsLogger:
    """Means of every figure over the last steps, written now and then.

    Args:
        folder: of ``metrics.jsonl`` and ``tensorboard/``.
        stage: its name goes before every figure's.
        start: the step that training goes on from; lines after it are dropped.
        every: steps between lines.
        sums: figures of the steps since the last line, by name, that the interrupted run had not written yet.
        tracking: a tracker that is told the same, if there is one.
    """

    def __init__(
        self,
        folder: Path,
        stage: str,
        start: int,
        every: int,
        sums: Mapping[str, list[float]] | None = None,
        tracking: Tracking | None = None,
    ):
        from torch.utils.tensorboard import SummaryWriter

        self._path, self._stage, self._every = folder / METRICS, stage, every
        self.sums: dict[str, list[float]] = defaultdict(list, {name: [*found] for name, found in (sums or {}).items()})
        self._began, self._first = time.monotonic(), start
        rows = self._read() if self._path.exists() else []
        if self._path.exists():
            self._drop(rows, start)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=start)
        mine = [row for row in rows if row["stage"] == stage]
        self._curves = tracking.begin(folder / stage, mine, start) if tracking else None

    def _read(self) -> list[dict[str, Any]]:
        """The lines that are there, but for one that a kill tore."""
        lines = self._path.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.endswith("}")]
        return [{**row, "stage": new_stage(row["stage"])} for row in rows]

    def _drop(self, rows: list[dict[str, Any]], start: int) -> None:
        """Leave out what an interrupted run wrote beyond the step that this one goes on from."""
        kept = [row for row in rows if row["stage"] != self._stage or row["step"] <= start]
        write_atomically(self._path, "".join(f"{json.dumps(row)}\n" for row in kept).encode())

    def note(self, step: int, values: Mapping[str, float]) -> str:
        """Take a step's figures; returns a line for people where one was written."""
        for name, value in values.items():
            self.sums[name].append(value)
        if step % self._every:
            return ""
        means = {name: sum(found) / len(found) for name, found in self.sums.items()}
        means["steps_per_second"] = (step - self._first) / (time.monotonic() - self._began)
        self.sums.clear()
        self.write(step, means)
        return f"loss {means.get('loss', 0.0):.3f}"

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write figures as they are."""
        row = {"stage": self._stage, "step": step, **{name: round(value, 6) for name, value in values.items()}}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        for name, value in values.items():
            self._board.add_scalar(f"{self._stage}/{name}", value, step)
        if self._curves is not None:
            self._curves.log_row(row)

    def write_image(self, step: int, name: str, path: Path) -> None:
        """Show an image file, as it is now, in TensorBoard and the tracker."""
        with Image.open(path) as picture:
            self._board.add_image(f"{self._stage}/{name}", np.asarray(picture.convert("RGB")), step, dataformats="HWC")
        if self._curves is not None:
            self._curves.log_image(step, f"{self._stage}/{name}", path)

    def close(self) -> None:
        """Write what TensorBoard and the tracker still hold."""
        self._board.close()
        if self._curves is not None:
            self._curves.close()
