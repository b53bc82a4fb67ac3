"""A film shows the episode: every frame is of its time, and the sheet has one still a sub-task."""

import itertools

import av
import numpy as np
import pytest
from PIL import Image

from lohovla.envs.env import BlocksEnv
from lohovla.evaluate.episode_runner import run_episode
from lohovla.evaluate.report.video import HEIGHT, WIDTH, EpisodeVideo
from lohovla.policies.registry import make_policy


@pytest.fixture(scope="module", params=["ee", "pick_place"])
def filmed(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("film")
    env = BlocksEnv("put-even-blocks-in-same-color-zone", control=request.param, cameras={})
    film = EpisodeVideo(folder / "video.mp4", env, fps=4)
    result = run_episode(env, make_policy("oracle", env), 10003, on_start=film.start, on_subtask=film.turn)
    film.finish(linger=1.0)
    film.contact_sheet(folder / "sheet.png", columns=2)
    return folder, result, film


def test_the_video_opens_and_is_as_long_as_the_episode(filmed):
    folder, result, _ = filmed
    with av.open(str(folder / "video.mp4")) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert stream.codec_context.name == "h264"
        assert stream.pix_fmt == "yuv420p"
    assert frames[0].shape == (HEIGHT, WIDTH, 3)
    assert len(frames) / 4 == pytest.approx(result.simulated_seconds + 1.0, abs=1.0)
    moved = np.abs(frames[0].astype(int) - frames[len(frames) // 2].astype(int)).mean()
    assert moved > 1.0


def test_the_score_bar_fills(filmed):
    folder, _, _ = filmed
    with av.open(str(folder / "video.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    bar = [frame[442, 650:950].astype(int) for frame in (frames[0], frames[-1])]
    assert bar[0].max() < 100  # empty: dark
    assert (bar[1][:, 1] > 150).all()  # full: green


def test_the_sheet_has_a_still_for_the_start_and_each_subtask(filmed):
    folder, result, film = filmed
    captions = [caption for caption, _ in film.stills]
    assert captions == ["Start", *(span.text for span in result.subtasks)]
    sheet = Image.open(folder / "sheet.png")
    assert sheet.width == 2 * 426
    stills = [np.asarray(still, int) for _, still in film.stills]
    assert all(np.abs(a - b).mean() > 0.03 for a, b in itertools.pairwise(stills))
