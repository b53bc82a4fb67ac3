"""A film of an episode in another project's environment: the scene, what the policy saw, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from lohovla.envs.worlds.world import WorldEpisode
from lohovla.evaluate.report.film_writer import BACKGROUND, FAINT_TEXT, SOLVED, TEXT, FilmWriter, font

_FPS = 20  # of the film
_WIDTH, _HEIGHT, _SCENE, _VIEW, _GAP = 720, 432, (480, 360), 174, 12
_LINGER = 20  # frames that the last one is held


def film_world_episode(episode: WorldEpisode, row: Mapping[str, Any], actions: np.ndarray, path: Path) -> None:
    """Carry out again what was carried out in an episode, which leads to the same states, and film it.

    Args:
        episode: a slot of the same world.
        row: the record of the episode.
        actions: what was carried out (T, A).
        path: of the mp4.
    """
    observation = episode.reset(row["task"], row["seed"], row["instruction"])
    stride = max(1, round(episode.world.control_hz / _FPS))
    with closing(FilmWriter(path, _WIDTH, _HEIGHT, _FPS, crf=20)) as film:
        film.write(_frame(episode, observation, row, False))
        for start in range(0, len(actions), stride):
            outcome = episode.advance(actions[start : start + stride])
            assert outcome.observation is not None
            observation = outcome.observation
            film.write(_frame(episode, observation, row, outcome.success))
        film.write(_frame(episode, observation, row, bool(row["success"])), _LINGER)


def _frame(episode: WorldEpisode, observation: Mapping[str, Any], row: Mapping[str, Any], success: bool) -> Image.Image:
    frame = Image.new("RGB", (_WIDTH, _HEIGHT), BACKGROUND)
    draw = ImageDraw.Draw(frame)
    frame.paste(Image.fromarray(episode.picture()).resize(_SCENE), (0, 0))
    views = [name for name in observation if name.startswith("images.")][:2]
    for number, name in enumerate(views):
        at = 8 + number * (_VIEW + _GAP)
        view = Image.fromarray(observation[name]).resize((_VIEW, _VIEW), Image.Resampling.NEAREST)
        frame.paste(view, (_SCENE[0] + 40, at))
    seconds = episode.steps / episode.world.control_hz
    draw.text((14, 372), row["instruction"], TEXT, font(20))
    about = f"{row['task']}, seed {row['seed']}: {episode.steps} actions, {seconds:.1f} s"
    draw.text((14, 402), about, FAINT_TEXT, font(14))
    if success:
        draw.text((560, 390), "solved", SOLVED, font(24))
    return frame
