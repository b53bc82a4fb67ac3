"""All that is known of every frame of some data sets, as arrays, from which a batch is picked at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lohovla.data.action_chunk_padding import padded_chunk_indices
from lohovla.data.dataset_source import DatasetSource
from lohovla.data.keyframes import gripper_dimensions, keyframes, next_keyframe


@dataclass(frozen=True)
class FrameTable:
    """N frames of E episodes of several data sets, numbered through.

    Attributes:
        first: number of the first frame of a frame's episode, (N,).
        end: one past the last, (N,).
        source: number of the data set, (N,).
        place: of the frame among all frames of its data set, (N,).
        state: float32 (N, n).
        action: float32 (N, A).
        texts: sentences.
        instruction: number of the task's sentence, (N,).
        subtask: number of the sub-task's, -1 without one, (N,).
        progress: of the sub-task, or of the episode in those without any; NaN where unknown, (N,).
        goal: frame that is the goal's, (N,); None where none is wanted.
        keyframe: the next keyframe, (N,); the frame itself where none follows.
        grippers: numbers of an action that command a gripper.
    """

    first: np.ndarray
    end: np.ndarray
    source: np.ndarray
    place: np.ndarray
    state: np.ndarray
    action: np.ndarray
    texts: list[str]
    instruction: np.ndarray
    subtask: np.ndarray
    progress: np.ndarray
    goal: np.ndarray | None
    keyframe: np.ndarray
    grippers: list[int]

    def numbers(self, frames: np.ndarray, chunk: int) -> dict[str, Any]:
        """A batch of some frames but its pictures, with chunks of actions from each on."""
        steps, padded = padded_chunk_indices(frames, self.end[frames], chunk)
        follows = self.keyframe[frames]
        return {
            "state": torch.from_numpy(self.state[frames]),
            "action": torch.from_numpy(self.action[steps]),
            "action_is_pad": torch.from_numpy(padded),
            "instruction": [self.texts[number] for number in self.instruction[frames].tolist()],
            "subtask": [self.texts[number] if number >= 0 else "" for number in self.subtask[frames].tolist()],
            "progress": torch.from_numpy(self.progress[frames]),
            "keyframe_state": torch.from_numpy(self.state[follows]),
            "keyframe_valid": torch.from_numpy((follows > frames) & (self.state.shape[1] > 0)),
        }

    def pictures(self, frames: np.ndarray, kept: Sequence[Mapping[str, np.ndarray]]) -> dict[str, torch.Tensor]:
        """Pictures of some frames by camera, uint8 (B, h, w, 3).

        Args:
            frames: which ones.
            kept: of each data set, the pictures of all of its frames by camera.
        """
        found: dict[str, torch.Tensor] = {}
        sources = self.source[frames]
        for camera in kept[0]:
            shape = kept[0][camera].shape[1:]
            picked = np.empty((len(frames), *shape), np.uint8)
            for source in np.unique(sources).tolist():
                rows = np.flatnonzero(sources == source)
                picked[rows] = kept[source][camera][self.place[frames[rows]]]
            found[camera] = torch.from_numpy(picked)
        return found


def frame_table(sources: Sequence[DatasetSource], trained: np.ndarray, goal_seconds: float | None) -> FrameTable:
    """Put the frames of some data sets side by side.

    Args:
        sources: the data sets; their features match.
        trained: whether each episode is trained on, (E,): what counts as a gripper's range is taken from these.
        goal_seconds: how far ahead goals are where no sub-task says it; None wants no goals.
    """
    texts: dict[str, int] = {}
    parts: dict[str, list[np.ndarray]] = {}
    for number, source in enumerate(sources):
        columns = source.columns
        own = np.array([texts.setdefault(text, len(texts)) for text in columns.texts], np.int32)
        starts = np.cumsum([0, *(episode.length for episode in source.every)])
        count = int(columns.lengths.sum())
        told = {
            "source": np.full(count, number, np.int16),
            "place": np.concatenate([np.arange(starts[at], starts[at + 1]) for at in source.wanted]),
            "state": columns.state,
            "action": columns.action,
            "instruction": own[columns.instruction],
            "subtask": np.where(columns.subtask >= 0, own[columns.subtask], -1),
            "turn": columns.turn,
            "length": columns.lengths,
            "failed": np.array([reached is False for reached in columns.success]),
            "fps": np.full(len(columns.lengths), source.info["fps"], float),
        }
        for name, values in told.items():
            parts.setdefault(name, []).append(values)
    whole = {name: np.concatenate(values) for name, values in parts.items()}
    lengths, turn, failed, fps = (whole.pop(name) for name in ("length", "turn", "failed", "fps"))
    end = np.repeat(np.cumsum(lengths), lengths)
    first = end - np.repeat(lengths, lengths)
    progress, goal = _towards_ends(first, end, turn, np.repeat(failed, lengths))
    if goal_seconds is not None:
        ahead = np.arange(len(end)) + np.rint(goal_seconds * np.repeat(fps, lengths)).astype(int)
        goal = np.where(turn >= 0, goal, np.minimum(ahead, end - 1))
    grippers = gripper_dimensions(sources[0].found.action_names, whole["action"])
    return FrameTable(
        first,
        end,
        **whole,
        texts=list(texts),
        progress=progress,
        goal=None if goal_seconds is None else goal,
        keyframe=_next_keyframes(whole["action"], whole["state"], lengths, trained, grippers, float(fps[0])),
        grippers=grippers,
    )


def _towards_ends(
    first: np.ndarray, end: np.ndarray, turn: np.ndarray, failed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How far each frame is within its sub-task, and the frame at which that ends: the first of the next, or the last.

    An episode without sub-tasks is one. What precedes the first sub-task is none, and what a failed episode ended with
    was not done: their progress is not known.
    """
    frames = np.arange(len(first))
    has = np.maximum.reduceat(turn, np.unique(first)) >= 0
    lengths = np.diff(np.append(np.unique(first), len(first)))
    silent = np.repeat(has, lengths) & (turn < 0)
    begins = np.flatnonzero(np.diff(turn, prepend=-2).astype(bool) | (frames == first))
    sizes = np.diff(np.append(begins, len(frames)))
    begin, size = np.repeat(begins, sizes), np.repeat(sizes, sizes)
    after = begin + size
    progress = ((frames - begin) / np.maximum(size - 1, 1)).astype(np.float32)
    progress[silent | (failed & (after == end))] = np.nan
    return progress, np.minimum(after, end - 1)


def _next_keyframes(
    action: np.ndarray,
    state: np.ndarray,
    lengths: np.ndarray,
    trained: np.ndarray,
    grippers: Sequence[int],
    fps: float,
) -> np.ndarray:
    own = action[np.repeat(trained, lengths)]
    low, high = own.min(axis=0), own.max(axis=0)
    found, begin = [], 0
    for length in lengths.tolist():
        part = slice(begin, begin + length)
        at = keyframes(action[part], state[part], grippers, low, high, fps)
        found.append(begin + next_keyframe(at, length))
        begin += length
    return np.concatenate(found)
