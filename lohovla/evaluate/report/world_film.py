"""A film of an episode in a world of others: the scene, what the policy saw, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lohovla.envs.worlds.world import WorldEpisode

_FPS = 20  # of the film
_WIDTH, _HEIGHT, _SCENE, _VIEW, _GAP = 720, 432, (480, 360), 174, 12
_BACK, _INK, _SOFT, _DONE = (24, 27, 31), (240, 242, 245), (150, 158, 168), (74, 200, 120)
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
    with av.open(str(path), "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=_FPS, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 1

        def write(success: bool, times: int = 1) -> None:
            frame = _frame(episode, observation, row, success)
            for _ in range(times):
                for packet in stream.encode(av.VideoFrame.from_ndarray(np.asarray(frame), format="rgb24")):
                    container.mux(packet)

        write(False)
        for start in range(0, len(actions), stride):
            outcome = episode.advance(actions[start : start + stride])
            assert outcome.observation is not None
            observation = outcome.observation
            write(outcome.success)
        write(bool(row["success"]), _LINGER)
        for packet in stream.encode():
            container.mux(packet)


def _frame(episode: WorldEpisode, observation: Mapping[str, Any], row: Mapping[str, Any], success: bool) -> Image.Image:
    frame = Image.new("RGB", (_WIDTH, _HEIGHT), _BACK)
    draw = ImageDraw.Draw(frame)
    frame.paste(Image.fromarray(episode.picture()).resize(_SCENE), (0, 0))
    views = [name for name in observation if name.startswith("images.")][:2]
    for number, name in enumerate(views):
        at = 8 + number * (_VIEW + _GAP)
        view = Image.fromarray(observation[name]).resize((_VIEW, _VIEW), Image.Resampling.NEAREST)
        frame.paste(view, (_SCENE[0] + 40, at))
    seconds = episode.steps / episode.world.control_hz
    draw.text((14, 372), row["instruction"], _INK, ImageFont.load_default(20))
    about = f"{row['task']}, seed {row['seed']}: {episode.steps} actions, {seconds:.1f} s"
    draw.text((14, 402), about, _SOFT, ImageFont.load_default(14))
    if success:
        draw.text((560, 390), "solved", _DONE, ImageFont.load_default(24))
    return frame
