"""The thread that plays a live episode in its own time, and keeps what pages ask for."""

from __future__ import annotations

import io
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from lohovla.errors import UserError
from lohovla.view.live_episode import HAND, LiveEpisode, PolicyChoice

_log = logging.getLogger("lohovla.view")
_SHOW_EVERY = 0.12  # s between pictures
_WATCHED = 2.0  # s since the last picture was asked for, after which none are drawn
_IDLE = 0.05  # s between looks at what is asked for, while nothing moves
_BEHIND = 0.3  # s that the world may catch up
CAMERAS = {"film": (640, 480), "top": (320, 160), "wrist": (160, 160)}  # pixels of what the page shows
SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0)


class _Interrupted(Exception):
    """A motion inside one action ends here: a person asks for something else."""


class LiveView:
    """Plays in a thread of its own, which alone touches the world.

    Args:
        env: settings of the environment.
        choices: the policies that can be chosen, by what they are called.
        task: that sets the first table.
        seed: of the first table.
        policy: which of ``choices`` begins.
        speed: simulated seconds a second.
        playing: whether it begins at once.

    Attributes:
        playing: whether the world moves.
        speed: simulated seconds a second.

    Raises:
        UserError: the task is unknown, or the policy cannot be made.
    """

    def __init__(
        self,
        env: Mapping[str, Any],
        choices: Mapping[str, PolicyChoice],
        task: str,
        seed: int,
        policy: str,
        speed: float = 1.0,
        playing: bool = True,
    ):
        self.playing, self.speed = playing, speed
        self.episode = LiveEpisode(env, choices, self._tick)
        self._requests: deque[tuple[str, Callable[[], None]]] = deque()
        self._wake, self._closed = threading.Event(), threading.Event()
        self._due = self._next_show = 0.0
        self._watched = time.monotonic()
        self._inside = False
        self._busy = ""
        self._pictures: dict[str, bytes] = {}
        self._snapshot: dict[str, Any] = {}
        self._subgoal: tuple[int, np.ndarray | None] = 0, None
        self._failed: list[BaseException] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(task, seed, policy), name="lohovla-live-view", daemon=True
        )
        self._thread.start()
        self._ready.wait()
        if self._failed:
            raise self._failed[0]

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._wake.set()
        self._thread.join(10.0)

    # -- what pages ask for, from their threads ----------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """What the page shows beside pictures."""
        return {**self._snapshot, "playing": self.playing, "speed": self.speed, "busy": self._busy}

    def picture(self, camera: str) -> bytes | None:
        """The newest picture of a camera, as a jpeg; None before the first."""
        self._watched = time.monotonic()
        return self._pictures.get(camera)

    def subgoal(self) -> np.ndarray | None:
        """The picture that the sub-task should lead to, uint8 (H, W, 3), if the policy imagines one."""
        return self._subgoal[1]

    def play(self, playing: bool) -> None:
        """Let the world move, or hold it."""
        self.playing = playing
        self._wake.set()

    def ask(self, what: str, change: Callable[[], None]) -> None:
        """Have something done between two actions; a pick and place under way is cut off.

        Args:
            what: is done, for the page to show meanwhile.
            change: does it, in the world's thread; a UserError of it is told on the page.
        """
        self._requests.append((what, change))
        self._wake.set()

    # -- the world's thread ------------------------------------------------------------------------------------

    def _run(self, task: str, seed: int, policy: str) -> None:
        try:
            self.episode.begin(task, seed)
            self.episode.choose(policy)
            self._show()
        except BaseException as error:  # told by who made this
            self._failed.append(error)
        self._ready.set()
        while not self._failed and not self._closed.is_set():
            self._wake.clear()
            self._carry_out_requests()
            if not (self.playing and self._step()):
                if time.monotonic() >= self._next_show:
                    self._show()
                self._due = time.monotonic()  # what stood still is not made up for
                self._wake.wait(_IDLE)

    def _carry_out_requests(self) -> None:
        while self._requests:
            self._busy, change = self._requests.popleft()
            try:
                change()
            except UserError as error:
                self.episode.note = f"{error.cause}: {error.remedy}"
            except Exception as error:
                self._fail(error)
            self._busy = ""
            self._show()

    def _step(self) -> bool:
        self._inside = True
        try:
            return self.episode.step()
        except _Interrupted:
            self.episode.drop_chunk()
            return True
        except UserError as error:
            self.playing, self.episode.note = False, f"{error.cause}: {error.remedy}"
            return False
        except Exception as error:  # of whatever policy was chosen
            self._fail(error)
            return False
        finally:
            self._inside = False

    def _fail(self, error: Exception) -> None:
        _log.error("the live view stands still", exc_info=error)
        lines = str(error).splitlines() or [""]
        self.playing, self.episode.note = False, f"{type(error).__name__}: {lines[0]}"

    def _tick(self) -> None:
        """After each control period: show it, keep to the time, hold where that is wanted."""
        now = time.monotonic()
        if now >= self._next_show:
            self._show()
        period = self.episode.env.simulation.period
        now = time.monotonic()
        self._due = max(self._due + period / self.speed, now - _BEHIND)
        while (left := self._due - time.monotonic()) > 0 and not self._requests and not self._closed.is_set():
            self._wake.wait(min(left, _SHOW_EVERY))
            self._wake.clear()
        if self.episode.env.control == "ee":  # an action is one period: it ends by itself
            return
        while not self.playing and not self._requests and not self._closed.is_set():
            self._wake.wait(_IDLE)
            self._wake.clear()
            if time.monotonic() >= self._next_show:
                self._show()
        if self._inside and (self._requests or self._closed.is_set()):
            raise _Interrupted

    def _show(self) -> None:
        """Draw what is looked at, and note the state."""
        episode = self.episode
        if time.monotonic() - self._watched < _WATCHED or not self._pictures:
            self._pictures = {
                camera: _jpeg(episode.env.picture(camera, *size, "fast")) for camera, size in CAMERAS.items()
            }
        subgoal = episode.decision.subgoal if episode.decision is not None else None
        if subgoal is not self._subgoal[1]:
            self._subgoal = self._subgoal[0] + 1, subgoal
        simulation, pick = episode.env.simulation, episode.hand.pick
        held = simulation.held
        self._snapshot = {
            "task": episode.task,
            "seed": episode.seed,
            "control": episode.env.control,
            "goal": episode.instruction,
            "chosen": episode.chosen,
            "choices": [*episode.choices, HAND],
            "subtask": episode.subtasks[-1][1] if episode.subtasks else "",
            "subtasks": [f"{seconds:6.1f} s  {words}" for seconds, words in episode.subtasks[-12:]],
            "progress": episode.progress,
            "score": round(float(episode.env.episode.score), 3),
            "subgoal": self._subgoal[0] if subgoal is not None else None,
            "ended": episode.ended,
            "note": episode.note,
            "seconds": round(simulation.time, 1),
            "holds": episode.env.problem.layout.entities[held].color if held else "",
            "closed": episode.hand.closed,
            "picked": None if pick is None else [round(value, 3) for value in pick],
            "decision_ms": None
            if episode.decision is None or not episode.decision.timing
            else round(sum(episode.decision.timing.values()), 1),
        }
        self._next_show = time.monotonic() + _SHOW_EVERY


def _jpeg(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=85)
    return file.getvalue()
