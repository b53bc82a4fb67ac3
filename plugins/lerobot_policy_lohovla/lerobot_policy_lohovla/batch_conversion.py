"""Between LeRobot's batches and the observations and batches of the core. Nothing here needs LeRobot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lohovla.data.features import ACTION, IMAGES, STATE, camera_name
from lohovla.data.frame_table import FrameTable
from lohovla.data.resize_images import resize_pictures
from lohovla.model.robot_processor import RobotProcessor

_IMAGE = "observation.image"


def is_camera(feature: str) -> bool:
    """Whether a feature of a batch is a camera's pictures: ``observation.images.top`` or ``observation.image``."""
    return feature == _IMAGE or (feature.startswith((IMAGES, f"{_IMAGE}.")) and not feature.endswith("_is_pad"))


def pictures_of(pictures: Tensor) -> np.ndarray:
    """Colours uint8 (B, H, W, 3) of LeRobot's pictures (B, 3, H, W): floats in [0, 1], or uint8.

    Raises:
        ValueError: they are no such pictures.
    """
    if pictures.ndim != 4 or pictures.shape[1] != 3:
        raise ValueError(f"pictures are (B, 3, H, W), one observation each, not {tuple(pictures.shape)}")
    if pictures.dtype != torch.uint8:
        pictures = (pictures.float() * 255).round().clamp(0, 255).to(torch.uint8)
    return pictures.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def observations_of(batch: Mapping[str, Any], instruction: str = "") -> list[dict[str, Any]]:
    """The observations of a batch, by the names of :mod:`lohovla.data.features`.

    Args:
        batch: LeRobot's.
        instruction: what is to be done, where the batch does not say it.

    Raises:
        ValueError: there is neither a task nor an instruction, or the tasks are not as many as the observations.
    """
    images = {f"images.{camera_name(key)}": pictures_of(value) for key, value in batch.items() if is_camera(key)}
    state = batch.get(STATE)
    count = len(next(iter(images.values()))) if images else len(state) if state is not None else 0
    numbers = np.zeros((count, 0), np.float32) if state is None else state.float().cpu().numpy().reshape(count, -1)
    tasks = batch.get("task")
    tasks = [tasks] if isinstance(tasks, str) else list(tasks or [""] * count)
    if len(tasks) != count:
        raise ValueError(f"{len(tasks)} sentences in 'task' for {count} observations")
    tasks = [task or instruction for task in tasks]
    if not all(tasks):
        raise ValueError("the environment does not say what is to be done: --policy.instruction='Push the block.'")
    return [
        {**{name: pictures[row] for name, pictures in images.items()}, "state": numbers[row], "instruction": tasks[row]}
        for row in range(count)
    ]


def training_batch(
    batch: Mapping[str, Any], processor: RobotProcessor, table: FrameTable | None, cameras: Mapping[str, str]
) -> dict[str, Any]:
    """A batch as :class:`lohovla.data.training_set.TrainingSet` gives it.

    Args:
        batch: LeRobot's, with ``action`` (B, H, A) and ``action_is_pad`` (B, H).
        processor: of the core.
        table: all that is known of every frame of the data set, by ``index``: sub-tasks, keyframes and progress are not
            in LeRobot's batches. None leaves them out.
        cameras: the batch's name of each camera that the core reads.
    """
    pictures = {camera_name(key): value for key, value in batch.items() if is_camera(key)}
    images = {
        f"images.{camera.name}": torch.from_numpy(
            resize_pictures(pictures_of(pictures[cameras[camera.name]]), camera.height, camera.width)
        )
        for camera in processor.features.cameras
    }
    action = batch[ACTION].float().cpu()
    count = len(action)
    state = batch[STATE].float().cpu().reshape(count, -1) if STATE in batch else torch.zeros(count, 0)
    known: dict[str, Any] = {
        "subtask": [""] * count,
        "progress": torch.full((count,), torch.nan),
        "keyframe_state": torch.zeros_like(state),
        "keyframe_valid": torch.zeros(count, dtype=torch.bool),
    }
    if table is not None and "index" in batch:
        numbers = table.numbers(batch["index"].cpu().numpy().reshape(-1).astype(np.int64), action.shape[1])
        known = {name: numbers[name] for name in known}
    padded = batch.get("action_is_pad")
    return {
        **images,
        "state": state,
        "action": action,
        "action_is_pad": torch.zeros(action.shape[:2], dtype=torch.bool) if padded is None else padded.cpu(),
        "instruction": list(batch["task"]),
        **known,
    }
