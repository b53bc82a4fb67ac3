"""Blending: when a new chunk takes over, its difference to the path so far fades out smoothly."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from lohovla.control.poses import POSE, nearest

_FADE_SPEED, _FADE_TURN = 0.4, 1.6  # m/s and rad/s, mean speed at which a difference fades


class Setpoint(NamedTuple):
    """A moment of the path: pose (6,), its velocity and acceleration, and the gripper 0..1."""

    pose: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray
    gripper: float


@dataclass(frozen=True)
class BlendOut:
    """A difference of two paths in pose and velocity that goes to zero, as a cubic does that ends at rest.

    Attributes:
        pose: difference of poses at the start (6,).
        velocity: and of velocities (6,).
        start: s.
        length: s.
    """

    pose: np.ndarray = field(default_factory=lambda: np.zeros(POSE))
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(POSE))
    start: float = -math.inf
    length: float = 1.0

    @classmethod
    def from_setpoints(cls, old: Setpoint, new: Setpoint, now: float, shortest: float) -> BlendOut:
        """From the path so far onto a new one, in no less than ``shortest`` seconds."""
        turn = nearest(old.pose[3:], new.pose[3:]) - new.pose[3:]
        pose = np.concatenate([old.pose[:3] - new.pose[:3], turn])
        far = max(np.linalg.norm(pose[:3]) / _FADE_SPEED, np.linalg.norm(turn) / _FADE_TURN)
        return cls(pose, old.velocity - new.velocity, now, max(shortest, float(far)))

    def offset_at(self, now: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What is left of the difference at a moment, its velocity and its acceleration, each (6,)."""
        u = max((now - self.start) / self.length, 0.0)
        if u >= 1.0:
            return np.zeros(POSE), np.zeros(POSE), np.zeros(POSE)
        drift = self.velocity * self.length
        return (
            (1.0 - u * u * (3.0 - 2.0 * u)) * self.pose + u * (1.0 - u) ** 2 * drift,
            (-6.0 * u * (1.0 - u) * self.pose + (1.0 - u) * (1.0 - 3.0 * u) * drift) / self.length,
            ((12.0 * u - 6.0) * self.pose + (6.0 * u - 4.0) * drift) / self.length**2,
        )

    def add_offset(self, path: Setpoint, now: float) -> Setpoint:
        """A path with what is left of the difference."""
        pose, velocity, acceleration = self.offset_at(now)
        return Setpoint(path.pose + pose, path.velocity + velocity, path.acceleration + acceleration, path.gripper)
