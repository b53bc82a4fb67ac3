"""The commands of a run: kept, printed as they come, written, and drawn over what the robot sees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lohovla.geometry.workspace import WORKSPACE

_EVERY = 0.05  # s between commands that are kept
_PRINT_EVERY = 1.0  # s
_MOST = 36_000  # half an hour
_SCALE = 3  # of the top view's pixels
_SIDE = 200  # pixels of the strip below, which shows height and gripper over time
_INK, _SOFT, _BACK = (20, 24, 28), (120, 128, 136), (255, 255, 255)
_SLOW, _FAST, _CLOSED = (60, 130, 246), (234, 88, 12), (22, 163, 74)


class LoggedCommand(NamedTuple):
    """A command: s of the run, pose (6,), gripper 0..1, what the loop was doing, the sub-task."""

    time: float
    pose: np.ndarray
    gripper: float
    mode: str
    subtask: str


class CommandLog:
    """Keeps the commands of a run.

    Args:
        say: whether to print one a second: what a dry run is for.
    """

    def __init__(self, say: bool = False):
        self._say, self.moments, self._next, self._printed = say, [], -1.0, -1.0
        self.moments: list[LoggedCommand]

    def __call__(self, session: Any) -> None:
        """Called after every command."""
        command, now = session.commanded, session.clock.now() - session.log.origin
        if command is None or now < self._next or len(self.moments) >= _MOST:
            return
        self._next = now + _EVERY
        moment = LoggedCommand(
            round(now, 3), command.pose.copy(), float(command.gripper), command.mode, session.subtask
        )
        self.moments.append(moment)
        if self._say and now >= self._printed + _PRINT_EVERY:
            self._printed = now
            print(command_in_words(moment), flush=True)

    def begin(self) -> None:
        """Another run."""
        self.moments, self._next, self._printed = [], -1.0, -1.0

    def write(self, path: Path) -> None:
        """All that was kept, one JSON object a line."""
        rows = [{**moment._asdict(), "pose": [round(float(v), 5) for v in moment.pose]} for moment in self.moments]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def command_in_words(moment: LoggedCommand) -> str:
    """A command in words: where to, m and degrees."""
    x, y, z = moment.pose[:3]
    turn = np.degrees(moment.pose[3:])
    return (
        f"{moment.time:7.2f} s  {moment.mode:9s} x {x:+.3f} y {y:+.3f} z {z:+.3f} m  "
        f"turn {turn[0]:+4.0f} {turn[1]:+4.0f} {turn[2]:+4.0f} deg  gripper {moment.gripper:.2f}"
    )


def draw_path(moments: list[LoggedCommand], top: np.ndarray | None) -> Image.Image:
    """The commanded path from above, over the top view if there is one, and its height over time.

    Blue is slow and orange fast; green dots are where the gripper closes or opens.
    """
    (x0, x1), (y0, y1) = WORKSPACE[0], WORKSPACE[1]
    height, width = (160, 320) if top is None else top.shape[:2]
    wide, high = _SCALE * width, _SCALE * height
    picture = Image.new("RGB", (wide, high + _SIDE), _BACK)
    if top is not None:
        picture.paste(Image.fromarray(top).resize((wide, high)).point([128 + v // 2 for v in range(256)] * 3), (0, 0))
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(15)
    if len(moments) < 2:
        pen.text((10, 10), "no commands were made", _INK, font)
        return picture
    times = np.array([moment.time for moment in moments])
    places = np.array([moment.pose[:3] for moment in moments])
    speeds = np.linalg.norm(np.diff(places, axis=0), axis=1) / np.maximum(np.diff(times), 1e-3)
    fastest = max(float(np.percentile(speeds, 99)), 1e-6)
    seen = np.stack([(places[:, 1] - y0) / (y1 - y0) * wide, (places[:, 0] - x0) / (x1 - x0) * high], 1)
    side = _side(times, places[:, 2], wide, high)
    for k, speed in enumerate(speeds):
        share = min(speed / fastest, 1.0)
        color = tuple(round(a + share * (b - a)) for a, b in zip(_SLOW, _FAST, strict=True))
        for path in (seen, side):
            pen.line([*path[k], *path[k + 1]], fill=color, width=3)
    for k in np.flatnonzero(np.abs(np.diff([moment.gripper for moment in moments])) > 0.5):
        for path in (seen, side):
            x, y = path[k]
            pen.ellipse([x - 6, y - 6, x + 6, y + 6], outline=_CLOSED, width=3)
    pen.ellipse([seen[0][0] - 5, seen[0][1] - 5, seen[0][0] + 5, seen[0][1] + 5], fill=_INK)
    pen.text((10, 8), f"seen from above; fastest {fastest:.2f} m/s; dot: start, rings: gripper", _INK, font)
    lowest, highest = places[:, 2].min(), places[:, 2].max()
    pen.text((10, high + 6), f"height over {times[-1] - times[0]:.0f} s, {lowest:.3f} to {highest:.3f} m", _INK, font)
    return picture


def _side(times: np.ndarray, heights: np.ndarray, wide: int, high: int) -> np.ndarray:
    """Pixels (n, 2) of heights over time in the strip below."""
    span = max(float(times[-1] - times[0]), 1e-3)
    low, top = min(float(heights.min()), 0.0), max(float(heights.max()), 0.1)
    x = 10 + (times - times[0]) / span * (wide - 20)
    y = high + _SIDE - 10 - (heights - low) / (top - low) * (_SIDE - 45)
    return np.stack([x, y], 1)
