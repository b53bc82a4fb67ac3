"""Temporal ensembling (Zhao et al., 2304.13705): the weighted mean of all chunks that have an action for a moment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lohovla.control.chunks.chunk_blending import Setpoint
from lohovla.control.poses import nearest


def ensemble_weights(count: int, coeff: float) -> np.ndarray:
    """Weights (count,) that sum to one: of the k-th oldest chunk in proportion to exp(-coeff k)."""
    weights = np.exp(-coeff * np.arange(count))
    return weights / weights.sum()


def ensemble_setpoints(points: Sequence[Setpoint], coeff: float) -> Setpoint:
    """The weighted mean of the setpoints of several chunks, the oldest first; rotations near the first one's."""
    weights = ensemble_weights(len(points), coeff)
    first = points[0].pose
    poses = [np.concatenate([point.pose[:3], nearest(point.pose[3:], first[3:])]) for point in points]
    return Setpoint(
        weights @ np.array(poses),
        weights @ np.array([point.velocity for point in points]),
        weights @ np.array([point.acceleration for point in points]),
        float(weights @ np.array([point.gripper for point in points])),
    )
