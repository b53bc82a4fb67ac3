"""Pictures decoded once, at the size that training reads: a file of plain bytes for each camera of a data set.

Training then picks frames at random at the speed of memory. A file has room for every frame of its data set (without
taking it: it is sparse) and a list of the episodes that are in it, so that a decoding that was killed goes on and
other episodes of the same set add to it. What is in it follows from the set's files: when these change it is another.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from typing import Any, TextIO

import numpy as np

from lohovla.data.cache_room import hold, make_room
from lohovla.data.dataset_features import PictureFeature
from lohovla.data.episode_files import EpisodeFiles
from lohovla.data.frame_decoding import DecodeRun, decode_run, decode_runs, file_of, probe_video
from lohovla.data.images import resize_pictures
from lohovla.errors import UserError

_FRAMES, _DONE, _ABOUT, _LOCK = "frames.u8", "episodes.txt", "about.json", ".lock"


def cache_folder() -> Path:
    """Where decoded pictures are kept unless a folder is named: in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lohovla" / "frames"


@dataclass(frozen=True)
class CachedCamera:
    """The decoded pictures of a camera of a data set.

    Attributes:
        root: the data set's folder.
        camera: the camera.
        height: of the pictures kept, pixels.
        width: of the pictures kept.
        fps: frames a second.
        episodes: those that are wanted.
        first_rows: where each begins in its table.
        places: the place of each one's first frame among all frames of the set.
        total: frames of the set.
        folder: where they are kept.
    """

    root: Path
    camera: PictureFeature
    height: int
    width: int
    fps: float
    episodes: Sequence[EpisodeFiles]
    first_rows: Sequence[int]
    places: Sequence[int]
    total: int
    folder: Path

    @property
    def frame_bytes(self) -> int:
        """Bytes of a picture."""
        return self.height * self.width * 3

    def done(self) -> set[int]:
        """Numbers of the episodes that are there."""
        path = self.folder / _DONE
        return set(map(int, path.read_text().split())) if path.exists() else set()

    def add_done(self, episodes: Sequence[EpisodeFiles]) -> None:
        """Say that episodes are there; whole or not at all."""
        done = sorted(self.done() | {episode.number for episode in episodes})
        part = self.folder / f"{_DONE}.part"
        part.write_text("".join(f"{number}\n" for number in done))
        os.replace(part, self.folder / _DONE)

    def missing(self) -> list[int]:
        """Which of the wanted episodes are not there yet."""
        done = self.done()
        return [at for at, episode in enumerate(self.episodes) if episode.number not in done]

    def pictures(self) -> np.ndarray:
        """All frames of the set, uint8 (total, height, width, 3), of which those of the wanted episodes are there."""
        shape = (self.total, self.height, self.width, 3)
        return np.asarray(np.memmap(self.folder / _FRAMES, np.uint8, "r", shape=shape))


def plan_camera(
    root: Path,
    info: Mapping[str, Any],
    camera: PictureFeature,
    size: tuple[int, int],
    every: Sequence[EpisodeFiles],
    wanted: Sequence[int],
    first_rows: Sequence[int],
    cache: Path,
) -> CachedCamera:
    """Say where a camera's pictures are kept.

    Args:
        root: the data set's folder.
        info: its ``info.json``.
        camera: the camera.
        size: height and width to keep.
        every: all episodes of the set.
        wanted: places in ``every`` of those that are trained on.
        first_rows: where each of these begins in its table.
        cache: the folder of all caches.
    """
    starts = np.cumsum([0, *(episode.length for episode in every)])
    told = [str(root.resolve()), json.dumps(info, sort_keys=True), camera.feature, list(size)]
    for episode in every:
        begin = episode.videos[camera.feature].begin if camera.video else None
        told.append([episode.number, episode.length, begin])
    for path in sorted({file_of(episode, camera) for episode in every}):
        state = path.stat() if path.exists() else None
        told.append([path.name, state and state.st_size, state and state.st_mtime_ns])
    key = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:20]
    return CachedCamera(
        root,
        camera,
        *size,
        info["fps"],
        [every[at] for at in wanted],
        first_rows,
        [int(starts[at]) for at in wanted],
        int(starts[-1]),
        cache / key,
    )


def fill(cameras: Sequence[CachedCamera], limit: float, progress: Callable[[int], Any], workers: int) -> list[TextIO]:
    """Decode what is missing.

    Args:
        cameras: of all data sets.
        limit: bytes that all caches may take; what was last used longest ago is removed.
        progress: told of each number of pictures decoded.
        workers: threads.

    Returns:
        Files that keep the pictures from being removed by others as long as they are open.

    Raises:
        UserError: a file is missing or damaged, or there is no room.
    """
    missing = [camera.missing() for camera in cameras]
    todo = [camera for camera, own in zip(cameras, missing, strict=True) if own]
    if todo:
        whole = sum(episode.length * camera.frame_bytes for camera in cameras for episode in camera.episodes)
        new = sum(
            camera.episodes[at].length * camera.frame_bytes
            for camera, own in zip(cameras, missing, strict=True)
            for at in own
        )
        make_room(todo[0].folder.parent, [camera.folder for camera in cameras], whole, new, limit)
        _probe(todo, workers)
    held = [hold(camera.folder) for camera in cameras]
    with ThreadPoolExecutor(workers) as threads:
        for camera in todo:
            with _writing(camera):
                _fill_one(camera, threads, progress)
    return held


def frames_missing(cameras: Sequence[CachedCamera]) -> int:
    """Pictures that :func:`fill` will decode."""
    return sum(camera.episodes[at].length for camera in cameras for at in camera.missing())


def _probe(todo: Sequence[CachedCamera], workers: int) -> None:
    """See that every video is there and holds its frames, before any is decoded at length."""
    files: list[tuple[CachedCamera, list[EpisodeFiles]]] = []
    for camera in todo:
        by_file: dict[Path, list[EpisodeFiles]] = {}
        for at in camera.missing():
            by_file.setdefault(file_of(camera.episodes[at], camera.camera), []).append(camera.episodes[at])
        if camera.camera.video:
            files += [(camera, episodes) for episodes in by_file.values()]
    with ThreadPoolExecutor(workers) as threads:
        probes = [
            threads.submit(probe_video, camera.root, camera.camera, episodes, camera.fps) for camera, episodes in files
        ]
        try:
            for probe in probes:
                probe.result()
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise


@contextmanager
def _writing(camera: CachedCamera) -> Iterator[None]:
    """Let one process fill a camera's file at a time: others wait, and find it filled."""
    camera.folder.mkdir(parents=True, exist_ok=True)
    with (camera.folder / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fill_one(camera: CachedCamera, threads: ThreadPoolExecutor, progress: Callable[[int], Any]) -> None:
    about = {"dataset": str(camera.root), "camera": camera.camera.feature, "size": [camera.height, camera.width]}
    (camera.folder / _ABOUT).write_text(json.dumps({**about, "time": time.strftime("%Y-%m-%d %H:%M")}))
    missing = camera.missing()  # another process may have filled it meanwhile
    runs = decode_runs(
        camera.camera, [camera.episodes[at] for at in missing], [camera.first_rows[at] for at in missing]
    )
    places = {episode.number: place for episode, place in zip(camera.episodes, camera.places, strict=True)}
    descriptor = os.open(camera.folder / _FRAMES, os.O_RDWR | os.O_CREAT, 0o644)
    stop, lock = Event(), Lock()

    def decode(run: DecodeRun) -> None:
        for episode, frame, picture in decode_run(camera.root, run, camera.fps):
            if stop.is_set():
                return
            kept = resize_pictures(picture[None], camera.height, camera.width)[0]
            os.pwrite(descriptor, kept.tobytes(), (places[episode.number] + frame) * camera.frame_bytes)
            with lock:
                progress(1)
        os.fsync(descriptor)  # the list must not speak of what a power cut could take away
        with lock:
            camera.add_done(run.episodes)

    try:
        os.truncate(descriptor, camera.total * camera.frame_bytes)
        decoding = [threads.submit(decode, run) for run in runs]
        try:
            for run in as_completed(decoding):
                run.result()
        finally:
            stop.set()
            for run in decoding:
                run.cancel()
            for run in decoding:
                if not run.cancelled():
                    run.exception()  # wait for it: the file is about to be closed
    except OSError as error:
        raise UserError(
            f"decoded pictures cannot be kept in {camera.folder}: {error.strerror or error}",
            "make room there, or cache=FOLDER on another disk; what is done is kept",
        ) from None
    finally:
        os.close(descriptor)
