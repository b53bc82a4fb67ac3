"""Looking a data set over: everything must be there, whole, and what the summary says it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lohovla.data import layout, statistics
from lohovla.data.reader import read_info
from lohovla.data.tables import decode_picture, read_index, values_of
from lohovla.data.writer import stats_of_row
from lohovla.errors import UserError

_CLOSE = 1e-4  # relative, for statistics that were written as text


def check(root: Path) -> Iterator[str]:
    """Yield a line for everything that is wrong with a data set; nothing if all is well."""
    try:
        info = read_info(root)
    except UserError as error:
        yield error.cause
        return
    yield from _check_summaries(root)
    rows, combined, frames = 0, None, 0
    for path in sorted((root / "meta" / "episodes").glob("*/*.parquet")):
        try:
            table = pq.read_table(path).to_pylist()
        except (OSError, pa.ArrowException) as error:
            yield f"{path.relative_to(root)}: cannot be read: {_first_line(error)}"
            continue
        for row in table:
            if row["episode_index"] != rows:
                yield f"{path.relative_to(root)}: has episode {row['episode_index']} where {rows} was due"
            yield from _check_episode(root, info, row, frames)
            stats = stats_of_row(row)
            combined = statistics.combine(combined, stats) if stats else combined
            rows, frames = rows + 1, frames + row["length"]
    for name, found in (("total_episodes", rows), ("total_frames", frames)):
        if info[name] != found:
            yield f"{layout.INFO}: {name} is {info[name]}, but there are {found}"
    if combined is not None and (root / layout.STATS).exists():
        yield from _check_stats(root, combined)


def _check_summaries(root: Path) -> Iterator[str]:
    for name in (layout.STATS, layout.TASKS):
        if not (root / name).exists():
            yield f"{name}: missing"


def _check_episode(root: Path, info: Mapping[str, Any], row: Mapping[str, Any], start: int) -> Iterator[str]:
    episode, length = row["episode_index"], row["length"]
    say = f"episode {episode}"
    if row["dataset_from_index"] != start or row["dataset_to_index"] != start + length:
        yield f"{say}: its frames are numbered from {row['dataset_from_index']}, not {start}"
    path = root / info["data_path"].format(chunk_index=row["data/chunk_index"], file_index=row["data/file_index"])
    if not path.exists():
        yield f"{say}: {path.relative_to(root)} is missing"
    else:
        try:
            table = pq.read_table(path)
            table = table.filter(table["episode_index"].to_numpy() == episode)
            yield from _check_table(info, row, table, say)
            yield from _check_words(root, table, say)
        except (OSError, pa.ArrowException, ValueError) as error:
            yield f"{say}: {path.relative_to(root)} cannot be read: {_first_line(error)}"
    for name, entry in info["features"].items():
        if entry["dtype"] == "video":
            yield from _check_video(root, info, row, name, entry, say)


def _check_table(info: Mapping[str, Any], row: Mapping[str, Any], table: pa.Table, say: str) -> Iterator[str]:
    length = row["length"]
    if table.num_rows != length:
        yield f"{say}: {table.num_rows} frames instead of {length}"
        return
    recorded = stats_of_row(row)
    for name in layout.features_of_kind(info["features"], "number"):
        if name not in table.column_names:
            yield f"{say}: column {name} is missing"
            continue
        values = values_of(table, name, info["features"][name]["shape"])
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            yield f"{say}: {name} holds NaN or infinite values, first at frame {_first_bad(values)}"
        elif name in recorded:
            now = statistics.of_values(values)
            for key in ("min", "max", "mean"):
                if not np.allclose(now[key], recorded[name][key], rtol=_CLOSE, atol=_CLOSE):
                    yield f"{say}: the {key} of {name} is not what its statistics say"
    for name in layout.features_of_kind(info["features"], "image"):
        yield from _check_stills(table[name].to_pylist(), info["features"][name], f"{say}: {name}")
    steps = np.arange(length)
    if not np.allclose(table["timestamp"].to_numpy(), steps / info["fps"], atol=1e-4):
        yield f"{say}: timestamps are not frame / fps"
    if not np.array_equal(table["frame_index"].to_numpy(), steps):
        yield f"{say}: frame_index does not count from 0"
    if not np.array_equal(table["index"].to_numpy(), row["dataset_from_index"] + steps):
        yield f"{say}: index does not count from {row['dataset_from_index']}"


def _check_stills(values: list[Mapping[str, Any]], entry: Mapping[str, Any], say: str) -> Iterator[str]:
    for frame, value in enumerate(values):
        try:
            shape = decode_picture(value).shape
        except (OSError, TypeError) as error:
            yield f"{say} of frame {frame} cannot be decoded: {_first_line(error)}"
            return
        if tuple(shape[:2]) != tuple(entry["shape"][:2]):
            yield f"{say} of frame {frame} is {shape[0]} x {shape[1]}, not {entry['shape'][0]} x {entry['shape'][1]}"
            return


def _check_words(root: Path, table: pa.Table, say: str) -> Iterator[str]:
    for index, name in (("task", layout.TASKS), ("subtask", layout.SUBTASKS)):
        if f"{index}_index" in table.column_names and (root / name).exists():
            known = set(read_index(root / name, index).values())
            unknown = set(table[f"{index}_index"].to_pylist()) - known
            if unknown:
                yield f"{say}: {index} {min(unknown)} is not in {name}"


def _check_video(
    root: Path, info: Mapping[str, Any], row: Mapping[str, Any], name: str, entry: Mapping[str, Any], say: str
) -> Iterator[str]:
    place = {key: row[f"videos/{name}/{key}"] for key in ("chunk_index", "file_index")}
    path = root / info["video_path"].format(video_key=name, **place)
    if not path.exists():
        yield f"{say}: {path.relative_to(root)} is missing"
        return
    begin, end = row[f"videos/{name}/from_timestamp"], row[f"videos/{name}/to_timestamp"]
    height, width = entry["shape"][:2]
    half = 0.5 / info["fps"]
    try:
        with av.open(str(path)) as container:
            times = []
            for frame in container.decode(video=0):
                times.append(frame.time or 0.0)
                if frame.height < height or frame.width < width:
                    yield f"{say}: {name} has pictures of {frame.height} x {frame.width}, not {height} x {width}"
                    return
    except (OSError, av.error.FFmpegError) as error:
        yield f"{say}: {path.relative_to(root)} cannot be decoded: {_first_line(error)}"
        return
    frames = sum(begin - half < time < end - half for time in times)
    if frames != row["length"]:
        yield f"{say}: {path.relative_to(root)} has {frames} pictures for {row['length']} frames"


def _check_stats(root: Path, combined: Mapping[str, statistics.Stats]) -> Iterator[str]:
    written = statistics.as_arrays(json.loads((root / layout.STATS).read_text(encoding="utf-8")))
    for name, stats in combined.items():
        for key in ("min", "max", "mean", "std", "count"):
            if name not in written or key not in written[name]:
                yield f"{layout.STATS}: {name} {key} is missing"
            elif not np.allclose(written[name][key], stats[key], rtol=_CLOSE, atol=_CLOSE):
                yield f"{layout.STATS}: the {key} of {name} does not match the episodes"


def _first_bad(values: np.ndarray) -> int:
    return int(np.argwhere(~np.isfinite(values))[0][0])


def _first_line(error: Exception) -> str:
    said = getattr(error, "strerror", None) or str(error)  # without the path, which the line has already
    return (said.splitlines() or [type(error).__name__])[0]
