"""Recordings for the Rerun viewer (extra ``viz``): pictures, numbers and words over time, as .rrd files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lohovla.errors import SetupError, UserError

VIEWERS = ("rerun",)


def check_viewer(name: str | None) -> None:
    """Refuse a viewer that there is not.

    Raises:
        UserError: the name is unknown.
        SetupError: it is not installed.
    """
    if name is None:
        return
    if name not in VIEWERS:
        raise UserError(f"viz cannot be {name!r}", "viz=rerun writes a recording for the Rerun viewer")
    try:
        import rerun  # noqa: F401  # type: ignore[import-not-found]
    except ImportError:
        raise SetupError("viz=rerun needs the Rerun SDK", "pip install 'lohovla[viz]'") from None


class RerunRecording:
    """A file that is written moment by moment; ``rerun FILE`` shows it.

    Args:
        path: the .rrd file.
    """

    def __init__(self, path: Path):
        import rerun  # type: ignore[import-not-found]

        self._rerun = rerun
        self._stream = rerun.RecordingStream("lohovla")
        self._stream.save(str(path))

    def set_time(self, number: int, seconds: float | None = None, line: str = "step") -> None:
        """What follows is of this moment: a number on a time line, and s of simulated or recorded time."""
        self._stream.set_time(line, sequence=number)
        if seconds is not None:
            self.set_seconds(seconds)

    def set_seconds(self, seconds: float, line: str = "time") -> None:
        """What follows is of this moment of a time line, s."""
        self._stream.set_time(line, duration=seconds)

    def picture(self, name: str, pixels: np.ndarray) -> None:
        """A colour picture, uint8 (H, W, 3)."""
        self._stream.log(name, self._rerun.Image(np.ascontiguousarray(pixels)).compress(jpeg_quality=90))

    def depth(self, name: str, metres: np.ndarray) -> None:
        """A depth picture, float32 (H, W), m."""
        self._stream.log(name, self._rerun.DepthImage(np.ascontiguousarray(metres), meter=1.0))

    def numbers(self, name: str, values: Sequence[float] | np.ndarray, names: Sequence[str] = ()) -> None:
        """Numbers, each a curve of its own: ``name/names[k]``, or ``name/k`` where there are no names."""
        for number, value in enumerate(np.asarray(values, float).ravel().tolist()):
            own = names[number] if number < len(names) else str(number)
            self.number(f"{name}/{own}", value)

    def number(self, name: str, value: float) -> None:
        """A number, as one curve."""
        self._stream.log(name, self._rerun.Scalars(value))

    def chart(self, name: str, values: np.ndarray) -> None:
        """A table of numbers (n, m) of one moment, as a picture whose rows are the m numbers over n."""
        self._stream.log(name, self._rerun.Tensor(np.asarray(values, np.float32).T, dim_names=["number", "action"]))

    def words(self, name: str, text: str, level: str | None = None) -> None:
        """A line of words, as a log has them; ``level`` is as in ``logging``, such as ``WARN``."""
        self._stream.log(name, self._rerun.TextLog(text, level=level))

    def path(self, name: str, points: np.ndarray) -> None:
        """A line through points (n, 3), m."""
        self._stream.log(name, self._rerun.LineStrips3D([np.asarray(points, np.float32)]))

    def point(self, name: str, place: np.ndarray) -> None:
        """A point (3,), m."""
        self._stream.log(name, self._rerun.Points3D([np.asarray(place, np.float32)], radii=0.008))

    def observation(self, observation: Mapping[str, Any], state_names: Sequence[str] = ()) -> None:
        """Pictures, depth and state of an observation, under its own keys."""
        for key, value in observation.items():
            if key.startswith("images."):
                self.picture(key.replace(".", "/", 1), np.asarray(value))
            elif key.startswith("depth."):
                self.depth(key.replace(".", "/", 1), np.asarray(value))
        if "state" in observation:
            self.numbers("state", observation["state"], state_names)

    def close(self) -> None:
        """Finish the file."""
        self._stream.flush()
        self._stream.disconnect()
