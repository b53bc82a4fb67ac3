"""Decoding the pictures that caches lack, every core at work, until all are there or one cannot be had."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Lock
from typing import Any, TextIO

from lohovla.data.cache_room import hold, make_room
from lohovla.data.episode_files import EpisodeFiles
from lohovla.data.frame_cache import CachedCamera
from lohovla.data.frame_decoding import DecodeRun, decode_run, decode_runs, file_of, probe_video
from lohovla.data.resize_images import resize_pictures
from lohovla.errors import UserError
from lohovla.progress import progress

_LOCK = ".lock"


def fill_cache(cameras: Sequence[CachedCamera], limit: float, progress_bar: bool = True) -> list[TextIO]:
    """Decode what is missing.

    Args:
        cameras: of all data sets.
        limit: bytes that all caches may take; what was last used longest ago is removed.
        progress_bar: show how far it is.

    Returns:
        Files that keep the pictures from being removed by others as long as they are open.

    Raises:
        UserError: a file is missing or damaged, or there is no room.
    """
    missing = [(camera, own) for camera in cameras if (own := camera.missing())]
    workers = os.cpu_count() or 1
    quiet = not progress_bar
    if missing:
        whole = sum(episode.length * camera.frame_bytes for camera in cameras for episode in camera.episodes)
        new = sum(camera.episodes[at].length * camera.frame_bytes for camera, own in missing for at in own)
        make_room(cameras[0].folder.parent, [camera.folder for camera in cameras], whole, new, limit)
        files = [each for camera, own in missing for each in _videos(camera, own)]
        with progress(quiet=quiet, total=len(files), desc="checking videos", unit="file", leave=False) as bar:
            _probe(files, workers, bar.update)
    held = [hold(camera.folder) for camera in cameras]
    # In the order of their folders, so that two processes never wait for one another.
    todo = sorted((camera for camera, _ in missing), key=lambda camera: camera.folder)
    with ExitStack() as locks:
        files = [locks.enter_context(_Filling.for_camera(camera)) for camera in todo]
        frames = sum(file.frames for file in files)
        with progress(quiet=quiet, total=frames, desc="decoding pictures", unit="picture", leave=False) as bar:
            _decode(files, workers, bar.update)
    return held


def _videos(camera: CachedCamera, missing: Iterable[int]) -> list[tuple[CachedCamera, list[EpisodeFiles]]]:
    """The videos of some episodes, and which of these are in each."""
    by_file: dict[Path, list[EpisodeFiles]] = {}
    for at in missing if camera.camera.video else ():
        by_file.setdefault(file_of(camera.episodes[at], camera.camera), []).append(camera.episodes[at])
    return [(camera, episodes) for episodes in by_file.values()]


def _probe(
    files: Sequence[tuple[CachedCamera, list[EpisodeFiles]]], workers: int, progress: Callable[[int], Any]
) -> None:
    """See that every video is there and holds its frames, before any is decoded at length."""
    with ThreadPoolExecutor(workers) as threads:
        probes = [
            threads.submit(probe_video, camera.root, camera.camera, episodes, camera.fps) for camera, episodes in files
        ]
        try:
            for probe in probes:
                probe.result()
                progress(1)
        finally:
            threads.shutdown(cancel_futures=True)


class _Filling:
    """A camera's file that this process alone writes to.

    Attributes:
        camera: the camera.
        runs: what is to be decoded.
        frames: how many pictures that is.
    """

    def __init__(self, camera: CachedCamera):
        self.camera = camera
        missing = camera.missing()  # another process may have filled it while this one waited
        episodes = [camera.episodes[at] for at in missing]
        self.runs = decode_runs(camera.camera, episodes, [camera.first_rows[at] for at in missing])
        self.frames = sum(episode.length for episode in episodes)
        self._places = {episode.number: place for episode, place in zip(camera.episodes, camera.places, strict=True)}
        self._descriptor = camera.open_frames()

    @classmethod
    @contextmanager
    def for_camera(cls, camera: CachedCamera) -> Iterator[_Filling]:
        """Wait for others that write to it, then keep them waiting."""
        with (camera.folder / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            filling = cls(camera)
            try:
                yield filling
            finally:
                os.close(filling._descriptor)

    def decode(self, run: DecodeRun, stop: Event, progress: Callable[[int], Any], lock: Lock) -> None:
        """Decode a run, unless all is to stop."""
        camera = self.camera
        for episode, frame, picture in decode_run(camera.root, run, camera.fps):
            if stop.is_set():
                return
            kept = resize_pictures(picture[None], camera.height, camera.width)[0]
            place = self._places[episode.number] + frame
            os.pwrite(self._descriptor, kept.tobytes(), place * camera.frame_bytes)
            with lock:
                progress(1)
        os.fsync(self._descriptor)  # the list must not speak of what a power cut could take away
        with lock:
            camera.add_done(run.episodes)


def _decode(files: Sequence[_Filling], workers: int, progress: Callable[[int], Any]) -> None:
    stop, lock = Event(), Lock()
    decoding: list[Future[None]] = []
    with ThreadPoolExecutor(workers) as threads:
        try:
            decoding += [threads.submit(file.decode, run, stop, progress, lock) for file in files for run in file.runs]
            for run in as_completed(decoding):
                run.result()
        except OSError as error:
            raise UserError(
                f"decoded pictures cannot be kept in {files[0].camera.folder.parent}: {error.strerror or error}",
                "make room there, or cache=FOLDER on another disk; what is done is kept",
            ) from None
        finally:  # of an interruption, too: nothing may be written to files that are about to be closed
            stop.set()
            threads.shutdown(cancel_futures=True)
