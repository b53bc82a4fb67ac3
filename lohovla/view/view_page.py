"""The live view as a page: its requests, and what its buttons and keys do."""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lohovla.envs.tasks.names import TASKS
from lohovla.extensions import installed
from lohovla.page_server import PageContent, PageServer
from lohovla.view.live_episode import HAND
from lohovla.view.live_view import CAMERAS, SPEEDS, LiveView

_LONGEST_GOAL = 300  # characters


class ViewPage(PageServer):
    """Serves a live view; see :class:`~lohovla.page_server.PageServer` for whom it hears.

    Only what is offered can be chosen: the policies that the view was started with, and tasks that are installed.

    Args:
        view: what is shown.
        host: address to listen at.
        port: 0 takes a free one.
        names: by which others know this machine, beside its own.
    """

    def __init__(self, view: LiveView, host: str = "127.0.0.1", port: int = 8020, names: Sequence[str] = ()):
        self.view = view
        super().__init__(Path(__file__).with_name("page.html"), host, port, names, "port")

    def content(self, path: str) -> PageContent | None:
        """State, tasks, cameras and the imagined sub-goal."""
        if path == "/state":
            return PageContent(json.dumps(self.view.snapshot()).encode(), "application/json")
        if path == "/tasks":
            return PageContent(json.dumps([*TASKS, *installed("task")]).encode(), "application/json")
        if path == "/subgoal":
            picture = self.view.subgoal()
            return None if picture is None else PageContent(_png(picture), "image/png")
        camera = path.removeprefix("/camera/")
        picture = self.view.picture(camera) if camera in CAMERAS else None
        return None if picture is None else PageContent(picture, "image/jpeg")

    def press(self, button: str, text: str) -> bool:
        """Do what a button says; returns whether there is such a button, and its text is one that it takes."""
        buttons: dict[str, Callable[[str], Any]] = {
            "play": lambda _: self.view.play(True),
            "pause": lambda _: self.view.play(False),
            "speed": self._speed,
            "scene": self._scene,
            "policy": self._policy,
            "goal": self._goal,
            "move": self._move,
            "grip": self._grip,
            "click": self._click,
        }
        if button not in buttons:
            return False
        try:
            buttons[button](text)
        except (ValueError, TypeError, KeyError):  # not what the page says: nothing is done
            return False
        return True

    def _speed(self, text: str) -> None:
        self.view.speed = SPEEDS[SPEEDS.index(float(text))]

    def _scene(self, text: str) -> None:
        task, _, seed = text.partition(" ")
        if task not in (*TASKS, *installed("task")):
            raise ValueError(task)
        number = int(seed)
        if not 0 <= number < 2**31:
            raise ValueError(seed)
        self.view.ask("setting the table", lambda: self.view.episode.begin(task, number))

    def _policy(self, name: str) -> None:
        if name != HAND and name not in self.view.episode.choices:
            raise ValueError(name)
        self.view.ask(f"loading {name}", lambda: self.view.episode.choose(name))

    def _goal(self, words: str) -> None:
        if not words.strip() or len(words) > _LONGEST_GOAL:
            raise ValueError(words)
        self.view.ask("taking the goal", lambda: self.view.episode.set_goal(words))

    def _move(self, text: str) -> None:
        directions = np.array([float(word) for word in text.split()])
        if directions.shape != (4,) or not np.isfinite(directions).all():
            raise ValueError(text)
        self.view.episode.hand.move(directions, time.monotonic())

    def _grip(self, text: str) -> None:
        self.view.episode.hand.closed = {"close": True, "open": False}[text]

    def _click(self, text: str) -> None:
        across, down = (float(word) for word in text.split())
        if not (math.isfinite(across + down) and 0.0 <= across <= 1.0 and 0.0 <= down <= 1.0):
            raise ValueError(text)
        self.view.episode.hand.click(across, down, self.view.episode.env.control)


def _png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return file.getvalue()
