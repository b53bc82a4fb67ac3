"""Stale and frozen cameras: pictures that are old, or stay the same while the tool moves, do not reach the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from lohovla.control.settings import SafetySettings


class CameraVisibility(NamedTuple):
    """Where and how a camera surely sees the tool move.

    Attributes:
        low: lowest position of the tool, m (3,).
        high: highest position, m (3,).
        shows: weight of motion along each axis of the base frame (3,): 0 where it does not change the picture.
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    shows: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def way(self, before: np.ndarray, after: np.ndarray) -> float:
        """How far the tool (3,) has moved before the camera, m; 0 unless both ends are in sight."""
        inside = all(((self.low <= p) & (p <= self.high)).all() for p in (before, after))
        return float(np.linalg.norm((after - before) * self.shows)) if inside else 0.0


_EVERYWHERE = CameraVisibility((-math.inf, -math.inf, -math.inf), (math.inf, math.inf, math.inf))


class CameraCheck:
    """Notices pictures that are old, and pictures that stay the same although the tool moves before the camera.

    Args:
        safety: how old, and over how long a way.
    """

    def __init__(self, safety: SafetySettings):
        self._safety = safety
        self._seen: dict[str, tuple[int, float]] = {}  # a picture's fingerprint, and the way made when it was new
        self._travelled: dict[str, float] = {}  # m, before each camera
        self._at: np.ndarray | None = None

    def check(
        self,
        observation: Mapping[str, Any],
        stamps: Mapping[str, float],
        now: float,
        sight: Mapping[str, CameraVisibility] | None = None,
    ) -> dict[str, str]:
        """What is wrong with each camera: ``stale`` or ``frozen`` by the observation's key.

        Args:
            observation: pictures as ``images.<camera>``, and ``state``.
            stamps: when each picture was taken, s on the loop's clock.
            now: the present moment, s.
            sight: of each camera by key; one that is not listed sees every motion.
        """
        position = np.asarray(observation["state"][:3], dtype=np.float64)
        before, self._at = self._at, position
        wrong = {}
        for key, stamp in stamps.items():
            if before is not None:
                way = (sight or {}).get(key, _EVERYWHERE).way(before, position)
                self._travelled[key] = self._travelled.get(key, 0.0) + way
            if now - stamp > self._safety.camera_stale or stamp > now + 1e-3:
                wrong[key] = "stale"
            elif self._is_frozen(key, observation[key]):
                wrong[key] = "frozen"
        return wrong

    def _is_frozen(self, key: str, picture: np.ndarray) -> bool:
        print_ = hash(np.ascontiguousarray(picture).tobytes())
        travelled = self._travelled.get(key, 0.0)
        if key not in self._seen or self._seen[key][0] != print_:
            self._seen[key] = print_, travelled
        return travelled - self._seen[key][1] > self._safety.frozen_camera_distance
