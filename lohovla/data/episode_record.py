"""One recorded episode, in memory and staged on disk before it gets its number."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lohovla.data import dataset_layout, statistics
from lohovla.data.parquet import arrow_column, picture_column
from lohovla.data.video import write_video


@dataclass(frozen=True)
class EpisodeRecord:
    """What was recorded of an episode of T frames.

    Attributes:
        columns: (T, n) or (T,) values of every numeric feature, and (T, H, W) steps of every depth feature.
        pictures: T pictures uint8 (H, W, 3) of every video feature.
        attributes: what is known of the episode as a whole, JSON values: ``task`` (the goal sentence), and as far as
            it has them ``task_name``, ``seed``, ``success``, ``score``, ``plan`` (its sub-tasks in order).
        subtasks: the sub-task's sentence at each frame; None where it has no sub-tasks.
        states: the simulator's full state at each frame, float64 (T, n); None where there is none to keep.
        depth_units: the step of every depth feature, metres.
    """

    columns: Mapping[str, np.ndarray]
    pictures: Mapping[str, list[np.ndarray]]
    attributes: Mapping[str, Any]
    subtasks: list[str] | None = None
    states: np.ndarray | None = None
    depth_units: Mapping[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.columns["action"])


def stage(record: EpisodeRecord, fps: int, folder: Path, fine: bool = False) -> None:
    """Write an episode into ``folder``, which appears only when it is complete.

    Everything costly happens here, in the process that recorded it; what is left is to number and move it.
    ``fine`` is of videos, see :func:`lohovla.data.video.write_video`.
    """
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    stats: dict[str, statistics.Stats] = {}
    arrays = {}
    for name, values in record.columns.items():
        if name in record.depth_units:
            arrays[name] = picture_column(values)
            stats[name] = statistics.of_depth(values, record.depth_units[name])
        else:
            arrays[name] = arrow_column(values)
            stats[name] = statistics.of_values(values)
    if record.subtasks is not None:
        arrays["subtask"] = pa.array(record.subtasks, pa.string())
    pq.write_table(pa.table(arrays), part / "columns.parquet", compression="zstd")
    for name, frames in record.pictures.items():
        write_video(part / f"{name}.mp4", frames, fps, fine)
        stats[name] = statistics.of_pictures(frames)
    if record.states is not None:
        np.savez_compressed(part / "states.npz", states=record.states)
    about = {
        **record.attributes,
        "length": len(record),
        "stats": statistics.statistics_lists(stats),
        dataset_layout.SPREAD: statistics.spreads_as_lists(stats),
    }
    (part / "episode.json").write_text(json.dumps(about), encoding="utf-8")
    for file in part.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    part.rename(folder)
