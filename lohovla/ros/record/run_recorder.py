"""Every run as an episode of a data set, so that robot data trains the next model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from lohovla import __version__
from lohovla.data import dataset_layout
from lohovla.data.dataset_layout import (
    EE_NAMES,
    STAGING,
    depth_feature,
    feature,
    frame_features,
    quantise_depth,
    video_feature,
)
from lohovla.data.episode_record import EpisodeRecord, stage
from lohovla.data.writer import DatasetWriter
from lohovla.geometry.workspace import STATE_NAMES
from lohovla.ros.robot.robot_profile import Profile
from lohovla.ros.vision.camera_pipeline import DEPTH_STEP
from lohovla.ros.vision.image_messages import color_of, compress

_log = logging.getLogger("lohovla.ros")
_MOST = 6_000  # frames of an episode that are kept: five minutes at 20 a second
_SHORTEST = 2  # frames; fewer is no episode


class _Kept(Sequence):
    """Pictures of a run, packed by a thread that is not the arm's; the same one again takes no room.

    Args:
        pack: what is kept of a picture.
        unpack: gives it back.
        packer: the thread.
    """

    def __init__(self, pack: Callable[[Any], Any], unpack: Callable[[Any], Any], packer: ThreadPoolExecutor):
        self._pack, self._unpack, self._packer = pack, unpack, packer
        self._packed: list[Future] = []
        self._last: Any = None

    def add(self, picture: np.ndarray) -> None:
        if picture is not self._last:
            self._last, self._newest = picture, self._packer.submit(self._pack, picture)
        self._packed.append(self._newest)

    def __len__(self) -> int:
        return len(self._packed)

    def __getitem__(self, index: Any) -> Any:
        return self._unpack(self._packed[index].result())


def _png(picture: np.ndarray) -> bytes:
    return compress(picture, "png")


def _from_png(data: bytes) -> np.ndarray:
    return color_of({"format": "png", "data": data})


class RunRecorder:
    """The frames of one run, ``fps`` a second of the time in which the policy had the arm.

    A frame holds what was seen, and as ``action`` the command that was made then: where the arm was told to be, so
    that a model learns what was done, whoever decided it.

    Args:
        fps: frames a second.
    """

    def __init__(self, fps: int):
        self.fps, self._next, self._full = fps, 0.0, False
        self.columns: dict[str, list[Any]] = {}
        self.pictures: dict[str, _Kept] = {}
        self.depths: dict[str, _Kept] = {}
        self.subtasks: list[str] = []
        self._packer = ThreadPoolExecutor(1, "lohovla-recording")

    def __len__(self) -> int:
        return len(self.subtasks)

    def __call__(self, session: Any) -> None:
        """Called after every command."""
        command = session.commanded
        if session.phase != "running" or command is None or session.seconds < self._next:
            return
        if len(self) >= _MOST:
            if not self._full:
                _log.warning("the recording is full: what follows is not kept")
            self._full = True
            return
        sight = session.robot.eyes.sight
        if not sight.pictures and session.robot.eyes.cameras:
            return
        self._next += 1.0 / self.fps
        observation = {**sight.pictures, "state": session.robot.state()}
        self._look(observation, command, session)

    def _look(self, observation: Mapping[str, Any], command: Any, session: Any) -> None:
        for key, value in observation.items():
            if key.startswith("images."):
                self._camera(self.pictures, dataset_layout.feature_name(key), _png, _from_png).add(value)
            elif key.startswith("depth."):
                self._camera(self.depths, dataset_layout.feature_name(key), _to_steps, np.asarray).add(value)
        action = np.append(command.pose, command.gripper).astype(np.float32)
        self._add("observation.state", np.asarray(observation["state"], np.float32))
        self._add("action", action)
        self._add(dataset_layout.EXECUTED, action)
        self._add("perturbed", False)
        self._add("progress", np.float32(session.loop.progress))
        self._add("picture.age", np.float32(_age(session)))
        self.subtasks.append(session.subtask)

    def _camera(self, known: dict[str, _Kept], name: str, pack: Any, unpack: Any) -> _Kept:
        if name not in known:
            known[name] = _Kept(pack, unpack, self._packer)
        return known[name]

    def _add(self, name: str, value: Any) -> None:
        self.columns.setdefault(name, []).append(value)

    def close(self) -> None:
        """End its thread."""
        self._packer.shutdown(wait=True)

    def finish(self, attributes: Mapping[str, Any]) -> tuple[EpisodeRecord, dict[str, Any]] | None:
        """The episode and its features; None if there is too little of it, or a camera came in between."""
        count = len(self)
        cameras = [*self.pictures.values(), *self.depths.values()]
        if count < _SHORTEST or any(len(frames) != count for frames in cameras):
            return None
        columns: dict[str, np.ndarray] = {}
        features: dict[str, Any] = {}
        for name, frames in self.pictures.items():
            features[name] = video_feature(frames[0].shape[0], frames[0].shape[1], self.fps)
        for name, depths in self.depths.items():
            columns[name] = np.stack(list(depths))
            features[name] = depth_feature(columns[name].shape[1], columns[name].shape[2], DEPTH_STEP)
        columns |= {name: np.array(values) for name, values in self.columns.items()}
        columns |= self._outcomes(count, bool(attributes["success"]))
        begins = [k for k in range(count) if k == 0 or self.subtasks[k] != self.subtasks[k - 1]]
        numbers = np.searchsorted(begins, np.arange(count), "right") - 1
        ends = np.array([*begins[1:], count - 1])
        columns |= {"subtask_number": numbers, "subgoal_index": ends[numbers]}
        features |= frame_features(STATE_NAMES, EE_NAMES)
        features["picture.age"] = feature("float32", (1,), None, unit="s")
        units = dict.fromkeys(self.depths, DEPTH_STEP)
        known = {**attributes, "plan": [self.subtasks[k] for k in begins if self.subtasks[k]]}
        # A robot does not tell the state of the world.
        return EpisodeRecord(columns, self.pictures, known, self.subtasks, depth_units=units), features  # type: ignore

    def _outcomes(self, count: int, success: bool) -> dict[str, np.ndarray]:
        last = np.arange(count) == count - 1
        zeros = np.zeros(count, np.float32)
        return {"score": zeros, "next.reward": zeros, "next.done": last, "next.success": last & success}


def _age(session: Any) -> float:
    stamps = session.robot.eyes.sight.stamps.values()
    return session.clock.now() - min(stamps) if stamps else 0.0


def _to_steps(depth: np.ndarray) -> np.ndarray:
    return quantise_depth(depth, DEPTH_STEP)


def save_run(recording: RunRecorder, root: Path, profile: Profile, attributes: Mapping[str, Any]) -> int | None:
    """Add a run to the data set at ``root``; returns its number, or None if it was too short to be one.

    Raises:
        UserError: the folder is no data set, or one of another robot.
    """
    finished = recording.finish({**attributes, "made_with": f"lohovla {__version__}"})
    if finished is None:
        recording.close()
        return None
    record, features = finished
    cameras = {name: _plain(vars(topics)) for name, topics in profile.cameras.items()}
    origin = {"robot": profile.name, "frame": profile.frame, "cameras": cameras, "top": profile.top_view_source}
    writer = DatasetWriter(root, features, recording.fps, origin, profile.name)
    try:
        staged = root / STAGING / f"run-{writer.episodes}"
        stage(record, recording.fps, staged)
        return writer.commit(staged)
    finally:
        writer.close()
        recording.close()


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
