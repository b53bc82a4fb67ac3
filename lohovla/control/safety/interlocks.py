"""What stands between a model and an arm: guards on chunks and pictures, a deadman switch, an emergency stop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from lohovla.control.poses import nearest
from lohovla.control.settings import SafetySettings
from lohovla.policies.base import PolicySpec


def fault_of(decision: Any, spec: PolicySpec) -> str:
    """What is wrong with a decision's chunk, or ""."""
    try:
        actions = np.asarray(decision.actions, dtype=np.float64)
        progress = float(decision.progress)
    except (AttributeError, TypeError, ValueError):
        return f"the model gave {type(decision).__name__}, not a decision with actions and progress"
    if actions.ndim != 2 or not len(actions) or actions.shape[1:] != spec.action_shape:
        return f"the chunk has shape {actions.shape}, not (H, {spec.action_shape[0]})"
    wrong = np.argwhere(~np.isfinite(actions))
    if len(wrong):
        row, column = wrong[0].tolist()
        return f"actions[{row}, {column}] is {actions[row, column]}"
    return "" if math.isfinite(progress) else f"the progress is {progress}"


def bound_changes(actions: np.ndarray, before: np.ndarray, safety: SafetySettings) -> tuple[np.ndarray, int]:
    """Absolute ``ee`` actions (H, 7), each moved so near to the one before as is allowed, and how many had to be.

    Args:
        actions: the chunk; grippers are clipped to [0, 1] in silence.
        before: the pose (6,) that goes before the first.
        safety: holds the largest changes.
    """
    bounded, count = np.array(actions, dtype=np.float64), 0
    for action in bounded:
        action[6] = min(max(action[6], 0.0), 1.0)
        action[3:6] = nearest(action[3:6], before[3:])
        moved = False
        for part, most in ((slice(0, 3), safety.max_step), (slice(3, 6), safety.max_turn_step)):
            way = action[part] - before[part]
            length = math.sqrt(float(way @ way))
            if length > most:
                action[part] = before[part] + way * (most / length)
                moved = True
        count += moved
        before = action[:6]
    return bounded, count


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


class CameraWatch:
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


class Deadman:
    """A button that a person keeps pressed; a press holds for a while and must be renewed.

    Args:
        timeout: how long a press holds, s.
    """

    def __init__(self, timeout: float):
        self._timeout = timeout
        self._pressed = -math.inf

    def press(self, now: float) -> None:
        """The person is there."""
        self._pressed = now

    def release(self) -> None:
        """The person has let go."""
        self._pressed = -math.inf

    def held(self, now: float) -> bool:
        """Whether somebody holds it at this moment."""
        return -1e-9 <= now - self._pressed <= self._timeout


class EmergencyStop:
    """Latches: once triggered, it stays so until a person releases it."""

    def __init__(self) -> None:
        self.cause = ""

    def __bool__(self) -> bool:
        return bool(self.cause)

    def trigger(self, cause: str) -> None:
        """Stop; the first cause is kept."""
        self.cause = self.cause or cause

    def release(self) -> None:
        """A person says that it may go on."""
        self.cause = ""
