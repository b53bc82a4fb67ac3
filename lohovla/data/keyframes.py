"""Moments of a demonstration that matter most: where the gripper's command changes, or the arm stops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_GRIPPER = ("gripper", "grip", "finger", "claw", "suction", "grasp")  # in names of an action's numbers
_OPEN, _CLOSED = 1 / 3, 2 / 3  # of the range, between which the command keeps the state that it had
_LEAST = 0.2  # of the data set's range, that an episode's command covers where it is more than noise
_KEPT = 5  # frames that a gripper keeps a command, on average, at least
_SLOW = 0.1  # of the mean speed of an episode, below which the arm stands
_STANDING = 0.2  # seconds for which it must stand


def gripper_dimensions(names: Sequence[str], actions: np.ndarray) -> list[int]:
    """Numbers of an action that command a gripper.

    Args:
        names: of an action's numbers.
        actions: all of a data set, (N, A).

    Returns:
        Those that are called so; else the last one that switches between two values; else none.
    """
    named = [at for at, name in enumerate(names) if any(word in name.lower() for word in _GRIPPER)]
    if named:
        return named
    return [at for at in range(actions.shape[1]) if _is_switch(actions[:, at])][-1:]


def keyframes(
    actions: np.ndarray, state: np.ndarray, grippers: Sequence[int], low: np.ndarray, high: np.ndarray, fps: float
) -> np.ndarray:
    """The keyframes of an episode, rising; the last frame always is one.

    Args:
        actions: of the episode, (T, A).
        state: of the episode, (T, n).
        grippers: numbers of an action that command a gripper; without any, stops of the arm are keyframes.
        low: least value of each number of an action over the data set, (A,).
        high: the largest, (A,).
        fps: frames a second.
    """
    length = len(actions)
    found = [np.array([length - 1])]
    for at in grippers:
        command = actions[:, at]
        span = float(np.ptp(command))
        # Closing on some objects takes less force than on others: an episode has its own open and closed.
        if high[at] > low[at] and span >= _LEAST * (high[at] - low[at]):
            found.append(_changes((command - command.min()) / span))
    if not grippers:
        found.append(_stops(state, fps))
    return np.unique(np.concatenate(found))


def next_keyframe(frames: np.ndarray, length: int) -> np.ndarray:
    """The first keyframe after each frame of an episode, (T,); of the last frame that frame itself."""
    return frames[np.minimum(np.searchsorted(frames, np.arange(length), "right"), len(frames) - 1)]


def _is_switch(command: np.ndarray) -> bool:
    """Whether a command has two values, each of which it keeps for a while."""
    changes = np.count_nonzero(np.diff(command))
    return bool(len(np.unique(command)) == 2 and changes <= len(command) / _KEPT)


def _changes(command: np.ndarray) -> np.ndarray:
    """Frames at which a command in [0, 1], of an episode's own range, goes from open to closed or back."""
    told = np.where(command <= _OPEN, 0, np.where(command >= _CLOSED, 1, -1))
    clear = np.flatnonzero(told >= 0)
    # Between the thresholds the last clear command holds, so that a slow gripper or noise is one change.
    return clear[1:][np.diff(told[clear]) != 0] if len(clear) else clear


def _stops(state: np.ndarray, fps: float) -> np.ndarray:
    """First frames of each time that the arm stands."""
    if len(state) < 2 or not state.shape[1]:
        return np.zeros(0, np.int64)
    spread = np.ptp(state, axis=0)
    speed = np.linalg.norm(np.diff(state, axis=0) / np.where(spread > 0, spread, 1), axis=1)
    slow = np.concatenate([[False], speed < _SLOW * speed.mean(), [False]])
    begins, ends = np.flatnonzero(~slow[:-1] & slow[1:]), np.flatnonzero(slow[:-1] & ~slow[1:])
    return begins[(ends - begins) >= max(1, round(_STANDING * fps))]
