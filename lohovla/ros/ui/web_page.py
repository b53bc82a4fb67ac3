"""The web page of a run: what the robot sees and does, and a stop button. The bridge serves it, and needs no other."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lohovla.page_server import PageContent, PageServer
from lohovla.ros.ui.command_log import CommandLog, draw_path
from lohovla.ros.vision.image_messages import compress


class WebPage(PageServer):
    """Serves the page; a press of its stop button is an emergency stop, at once.

    Who can reach the address can stop the robot and, with ``enable=page``, let it move: see
    :class:`~lohovla.page_server.PageServer` for whom it hears.

    Args:
        session: what is shown.
        operator: who is told of the buttons.
        trace: of the commands.
        host: address to listen at.
        port: 0 takes a free one.
        names: by which others know this machine, beside its own.

    Raises:
        UserError: the address is taken or not this machine's.
    """

    def __init__(
        self,
        session: Any,
        operator: Any,
        trace: CommandLog,
        host: str = "127.0.0.1",
        port: int = 8010,
        names: Sequence[str] = (),
    ):
        self.session, self.operator, self.trace = session, operator, trace
        super().__init__(Path(__file__).with_name("page.html"), host, port, names, "page.port")

    def content(self, path: str) -> PageContent | None:
        """State, camera, sub-goal and path of the commands."""
        if path == "/state":
            return PageContent(json.dumps(self.state()).encode(), "application/json")
        sources: dict[str, tuple[Callable[[], bytes | None], str]] = {
            "/camera": (self.camera, "image/jpeg"),
            "/subgoal": (self.subgoal, "image/png"),
            "/path": (self.path, "image/png"),
        }
        if path not in sources:
            return None
        draw_it, kind = sources[path]
        data = draw_it()
        return None if data is None else PageContent(data, kind)

    def state(self) -> dict[str, Any]:
        """What the page shows."""
        here = self.operator.enable == "page"
        return {**self.session.snapshot(), "has_subgoal": self.session.loop.subgoal is not None, "enable_here": here}

    def camera(self) -> bytes | None:
        """The newest picture as a jpeg: the top view, or else any."""
        pictures = self.session.robot.eyes.sight.pictures
        picture = pictures.get("images.top")
        if picture is None:
            picture = next((value for key, value in pictures.items() if key.startswith("images.")), None)
        return None if picture is None else compress(picture, "jpeg")

    def subgoal(self) -> bytes | None:
        """The picture that the sub-task should lead to, as a png."""
        picture = self.session.loop.subgoal
        return None if picture is None else compress(picture, "png")

    def path(self) -> bytes:
        """The commands so far, drawn, as a png."""
        top = self.session.robot.eyes.sight.pictures.get("images.top")
        return compress(np.asarray(draw_path(list(self.trace.moments), top)), "png")

    def press(self, button: str, text: str) -> bool:
        """Do what a button says; returns whether there is such a button."""
        operator = self.operator
        actions: dict[str, Callable[[], Any]] = {
            "stop": lambda: operator.emergency_stop("the page's stop button"),
            "release": operator.release,
            "start": operator.start,
            "pause": operator.pause,
            "enable": lambda: operator.enable == "page" and operator.press(),
            "let_go": lambda: operator.enable == "page" and operator.let_go(),
            "goal": lambda: operator.set_goal(text),
        }
        if button not in actions:
            return False
        actions[button]()
        return True
