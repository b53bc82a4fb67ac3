"""Every picture of some episodes of a camera, in order: from videos of any codec, or from pictures in the tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq

from lohovla.data.dataset_features import PictureFeature
from lohovla.data.dataset_files import UNREADABLE, DamagedFile, unreadable
from lohovla.data.episode_files import EpisodeFiles
from lohovla.data.parquet import decode_stored_picture

_RUN = 1500  # pictures decoded in one go, after which a kill loses nothing
_SKIPPED = 30  # pictures of episodes left out that are decoded rather than sought past


@dataclass(frozen=True)
class DecodeRun:
    """Episodes of one file that are decoded in one go.

    Attributes:
        path: a video, or a table with pictures.
        camera: whose pictures.
        episodes: the episodes, in the order of the file.
        first_rows: where each begins in its table.
    """

    path: Path
    camera: PictureFeature
    episodes: tuple[EpisodeFiles, ...]
    first_rows: tuple[int, ...]


def decode_runs(camera: PictureFeature, episodes: Sequence[EpisodeFiles], first_rows: Sequence[int]) -> list[DecodeRun]:
    """Share some episodes out in runs that can be decoded at the same time."""
    runs: list[DecodeRun] = []
    begun: list[tuple[EpisodeFiles, int]] = []

    def end_run() -> None:
        if begun:
            own, rows = zip(*begun, strict=True)
            runs.append(DecodeRun(file_of(own[0], camera), camera, own, rows))
            begun.clear()

    for episode, row in zip(episodes, first_rows, strict=True):
        if begun:
            other = file_of(begun[0][0], camera) != file_of(episode, camera)
            if other or sum(each.length for each, _ in begun) + episode.length > _RUN:
                end_run()
        begun.append((episode, row))
    end_run()
    return runs


def file_of(episode: EpisodeFiles, camera: PictureFeature) -> Path:
    """The file that holds an episode's pictures of a camera."""
    return episode.videos[camera.feature].path if camera.video else episode.table


def decode_run(root: Path, run: DecodeRun, fps: float) -> Iterator[tuple[EpisodeFiles, int, np.ndarray]]:
    """Yield each episode, frame and picture uint8 (H, W, 3) of a run.

    Args:
        root: the data set's folder.
        run: what to decode.
        fps: frames a second.

    Raises:
        UserError: a file is missing or damaged, or its pictures are not those of the episodes' frames.
    """
    pictures = _of_video(root, run, fps) if run.camera.video else _of_table(run)
    try:
        yield from pictures
    except UNREADABLE as error:
        raise _not_decoded(root, run.path, error) from None


def probe_video(root: Path, camera: PictureFeature, episodes: Sequence[EpisodeFiles], fps: float) -> None:
    """See that a video holds the frames of some episodes: its count of pictures, the first and the last of them.

    Raises:
        UserError: it does not.
    """
    path = file_of(episodes[0], camera)
    first = min(episodes, key=lambda episode: episode.videos[camera.feature].begin)
    last = max(episodes, key=lambda episode: episode.videos[camera.feature].begin)
    begin = first.videos[camera.feature].begin
    end = last.videos[camera.feature].begin + (last.length - 1) / fps
    try:
        with _opened(path) as container:
            stream = container.streams.video[0]
            due = round(end * fps) + 1
            if 0 < stream.frames < due:
                raise DamagedFile(root, path, f"has {stream.frames} pictures where {due} frames are due")
            for seconds in (begin, end):
                container.seek(max(0, int((seconds - 0.5 / fps) / stream.time_base)), stream=stream)
                shown = (frame for frame in container.decode(stream) if _time(frame) > seconds - 0.5 / fps)
                if (frame := next(shown, None)) is None:
                    raise DamagedFile(root, path, f"ends before {seconds:.3f} s, when a frame is due")
                _fitting(_array(frame), camera)
    except UNREADABLE as error:
        raise _not_decoded(root, path, error) from None


def _not_decoded(root: Path, path: Path, error: BaseException) -> Exception:
    told = unreadable(root, path, error)
    if isinstance(told, DamagedFile) and told.why.startswith("cannot be read"):
        return DamagedFile(root, path, told.why.replace("cannot be read", "cannot be decoded", 1))
    return told


def _opened(path: Path) -> Any:
    container = av.open(str(path))
    if not container.streams.video:
        container.close()
        raise ValueError("it holds no video")
    container.streams.video[0].codec_context.thread_count = 1  # runs are decoded side by side
    return container


def _of_video(root: Path, run: DecodeRun, fps: float) -> Iterator[tuple[EpisodeFiles, int, np.ndarray]]:
    with _opened(run.path) as container:
        stream = container.streams.video[0]
        frames: Iterator[Any] = iter(())
        frame, ahead = None, None  # the picture that is due to be looked at, and when it is shown
        for episode in run.episodes:
            begin, seen = episode.videos[run.camera.feature].begin, 0
            if ahead is None or not 0 <= (begin - ahead) * fps + 0.5 <= _SKIPPED:
                container.seek(max(0, int((begin - 0.5 / fps) / stream.time_base)), stream=stream)
                frames = container.decode(stream)
                frame = next(frames, None)
            while frame is not None and (place := (_time(frame) - begin) * fps) <= episode.length - 0.5:
                if place >= -0.5:
                    if round(place) != seen:
                        raise DamagedFile(root, run.path, _uneven(episode, seen, round(place), fps))
                    yield episode, seen, _fitting(_array(frame), run.camera)
                    seen += 1
                frame = next(frames, None)
            if seen < episode.length:
                raise DamagedFile(
                    root, run.path, f"has {seen} pictures for the {episode.length} frames of episode {episode.number}"
                )
            ahead = None if frame is None else _time(frame)


def _uneven(episode: EpisodeFiles, due: int, place: int, fps: float) -> str:
    count = "more pictures than frames" if place < due else "no picture for a frame"
    return f"has {count} in episode {episode.number}, at frame {due} of {fps:g} a second"


def _of_table(run: DecodeRun) -> Iterator[tuple[EpisodeFiles, int, np.ndarray]]:
    file = pq.ParquetFile(run.path, page_checksum_verification=True)
    edges = np.cumsum([0, *(file.metadata.row_group(at).num_rows for at in range(file.num_row_groups))])
    name = run.camera.feature
    if name not in file.schema_arrow.names:
        raise ValueError(f"it has no column {name}")
    for episode, first in zip(run.episodes, run.first_rows, strict=True):
        for group in range(file.num_row_groups):
            begin, end = max(first, edges[group]), min(first + episode.length, edges[group + 1])
            if begin >= end:
                continue
            values = file.read_row_group(group, columns=[name])[name].slice(begin - edges[group], end - begin)
            for row, value in enumerate(values, int(begin)):
                yield episode, row - first, _fitting(_coloured(decode_stored_picture(value.as_py())), run.camera)


def _time(frame: Any) -> float:
    return 0.0 if frame.time is None else frame.time


def _array(frame: Any) -> np.ndarray:
    return frame.to_ndarray(format="rgb24")


def _coloured(picture: np.ndarray) -> np.ndarray:
    """A still picture as uint8 (H, W, 3)."""
    if picture.dtype != np.uint8:
        raise ValueError(f"its pictures are {picture.dtype}, not of 8 bits a colour")
    if picture.ndim == 2:
        picture = picture[..., None]
    return np.repeat(picture, 3, axis=2) if picture.shape[2] < 3 else picture[..., :3]


def _fitting(picture: np.ndarray, camera: PictureFeature) -> np.ndarray:
    """The picture without the row and column that pad odd sizes in a video."""
    height, width = picture.shape[:2]
    if not (0 <= height - camera.height <= 1 and 0 <= width - camera.width <= 1):
        raise ValueError(f"its pictures are {height} x {width}, not {camera.height} x {camera.width}")
    return picture[: camera.height, : camera.width]
