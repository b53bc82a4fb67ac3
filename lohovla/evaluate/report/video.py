"""A film of an episode: the scene, what the policy sees, and what it is doing, in words and numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from lohovla.evaluate.episode_runner import EpisodeProgress, SubtaskSpan
from lohovla.evaluate.report.film_writer import ACCENT, BACKGROUND, FAINT_TEXT, SOLVED, TEXT, FilmWriter, font

WIDTH, HEIGHT = 960, 560
_SCENE = (640, 480)


def save_jpeg(picture: np.ndarray, path: Path, width: int = 480) -> None:
    """Write a picture uint8 (H, W, 3), scaled to ``width`` pixels."""
    image = Image.fromarray(picture)
    image.resize((width, round(width * image.height / image.width)), Image.Resampling.LANCZOS).save(path, quality=82)


class EpisodeVideo:
    """Draws frames of an episode and writes them as an mp4 that every player opens.

    Args:
        path: the file to write.
        env: the environment, a ``BlocksEnv``.
        fps: frames a second of simulated time.
    """

    def __init__(self, path: Path, env: Any, fps: int = 10):
        self._env, self._fps = env.unwrapped, fps
        self._film = FilmWriter(path, WIDTH, HEIGHT, fps, crf=21)
        self._progress = EpisodeProgress()
        self._next = 0.0
        self.stills: list[tuple[str, Image.Image]] = []
        self._caption = ""
        self.status: tuple[str, ...] = ()  # up to two lines about the control loop
        self.on_frame: Callable[[int], object] = lambda count: None  # told of each frame, for a progress bar

    def start(self, progress: EpisodeProgress, observation: dict[str, Any] | None = None, live: bool = True) -> None:
        """Begin with a fresh episode; from here on, if ``live``, every control period may become a frame."""
        self._progress, self._next = progress, 0.0
        if live:
            self._env.watch(self._tick)
        self._caption = "Start"
        self._shoot()

    def turn(self, span: SubtaskSpan) -> None:
        """Keep a still of the state in which a sub-task begins."""
        self._keep()
        self._caption = span.text

    def finish(self, linger: float = 1.5) -> None:
        """Hold the last picture for ``linger`` seconds and close the file."""
        self._env.watch(None)
        self._progress.score = self._env.problem.goal.score(self._env.scene())
        self._keep()
        frame = self.frame()
        for _ in range(max(1, round(linger * self._fps))):
            self._write(frame)
        self._film.close()

    def _tick(self) -> None:
        if self._env.simulation.time + 1e-6 >= self._next:
            self._shoot()

    def shoot(self, subtask: str, score: float) -> None:
        """A frame of the state that the environment is in now, for films that are made afterwards."""
        if subtask != self._progress.subtask:
            self._keep()
            self._caption = subtask
        self._progress.subtask, self._progress.score = subtask, score
        self._write(self.frame())

    def _shoot(self) -> None:
        self._next += 1.0 / self._fps
        self._write(self.frame())

    def _keep(self) -> None:
        scene = Image.fromarray(self._env.picture("film"))
        self.stills.append((self._caption, scene))

    def _write(self, frame: Image.Image) -> None:
        self._film.write(frame)
        self.on_frame(1)

    def frame(self) -> Image.Image:
        """The present state as one frame."""
        env, progress = self._env, self._progress
        frame = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
        draw = ImageDraw.Draw(frame)
        frame.paste(Image.fromarray(env.picture("film")), (0, 0))
        frame.paste(Image.fromarray(env.picture("top", 304, 152, "fast")), (648, 28))
        goal = progress.decision.subgoal if progress.decision else None
        edge, top = (200, 216) if goal is None else (96, 338)
        frame.paste(Image.fromarray(env.picture("wrist", edge, edge, "fast")), (648, top))
        labels = [("from above", 8), ("from the wrist", top - 20)]
        if goal is not None:
            frame.paste(Image.fromarray(goal).resize((200, 100), Image.Resampling.LANCZOS), (648, 214))
            labels.append(("imagined: the sub-task's end", 194))
        for text, y in labels:
            draw.text((648, y), text, FAINT_TEXT, font(13))
        score = env.problem.goal.score(env.scene())
        draw.text((860, 222), f"{env.simulation.time:5.1f} s", TEXT, font(24))
        draw.text((860, 262), "score", FAINT_TEXT, font(13))
        draw.text((860, 278), f"{100 * score:.0f} %", SOLVED if score > 0.99 else TEXT, font(24))
        held = env.simulation.held
        draw.text((860, 322), "holding", FAINT_TEXT, font(13))
        colour = env.problem.layout.entities[held].color if held else "nothing"
        draw.text((860, 338), colour, TEXT if held else FAINT_TEXT, font(18))
        draw.rectangle((648, 436, 952, 448), (52, 57, 64))
        draw.rectangle((648, 436, 648 + round(304 * score), 448), SOLVED if score > 0.99 else ACCENT)
        draw.text((14, 490), progress.instruction, FAINT_TEXT, font(17))
        draw.text((14, 520), progress.subtask or "", TEXT, font(22))
        for line, text in enumerate(self.status):
            draw.text((648, 454 + 17 * line), text, FAINT_TEXT, font(13))
        return frame

    def contact_sheet(self, path: Path, columns: int = 3) -> None:
        """Write the stills, one where each sub-task ended, as one picture."""
        width, height, bar = 426, 320, 30
        rows = -(-len(self.stills) // columns)
        sheet = Image.new("RGB", (columns * width, 44 + rows * (height + bar)), BACKGROUND)
        draw = ImageDraw.Draw(sheet)
        draw.text((12, 10), self._progress.instruction, TEXT, font(20))
        for index, (caption, still) in enumerate(self.stills):
            x, y = (index % columns) * width, 44 + (index // columns) * (height + bar)
            sheet.paste(still.resize((width - 4, height - 2), Image.Resampling.LANCZOS), (x + 2, y))
            words = f"{index}. {caption}"
            size = 15
            while draw.textlength(words, font(size)) > width - 16 and size > 9:
                size -= 1
            draw.text((x + 8, y + height + 5), words, TEXT, font(size))
        sheet.save(path)
