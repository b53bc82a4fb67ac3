"""Action chunks at an episode's end: the last action is repeated, and what is padded is marked."""

from __future__ import annotations

import numpy as np


def padded_chunk_indices(frames: np.ndarray, ends: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Which actions the chunks that begin at some frames consist of.

    Args:
        frames: index of the first action of each chunk, (B,).
        ends: one past the last action of each one's episode, (B,).
        horizon: actions of a chunk, H.

    Returns:
        Indices of the actions (B, H), the episode's last one wherever a chunk goes beyond it; and which of them are
        padding, bool (B, H), as lerobot's ``action_is_pad``.
    """
    steps = np.asarray(frames)[:, None] + np.arange(horizon)
    last = np.asarray(ends)[:, None] - 1
    return np.minimum(steps, last), steps > last
