"""What is collected trains: pictures, goals and words of each frame are those that were recorded."""

import numpy as np
import pyarrow.parquet as pq

from lohovla.data import dataset_layout
from lohovla.data.dataset_metadata import read_episode_rows
from lohovla.data.resize_images import resize_pictures

from .conftest import opened


def test_a_collected_set_is_read_frame_by_frame(collected, tmp_path, read_video):
    data = opened(collected, tmp_path, goal_seconds=1.0)
    assert [(c.name, c.height, c.width, c.depth) for c in data.features.cameras] == [
        ("top", 32, 64, True),
        ("wrist", 32, 32, False),
    ]
    for row in read_episode_rows(collected):
        number = row["episode_index"]
        episode = data.episode(number, held_out=False)
        for camera, size in (("top", (32, 64)), ("wrist", (33, 33))):
            key = f"observation.images.{camera}"
            path = dataset_layout.path_of(collected, dataset_layout.VIDEO_PATH, number, video_key=key)
            recorded = read_video(path)[:, : size[0], : size[1]]
            shape = episode[f"images.{camera}"].shape[1:3]
            np.testing.assert_array_equal(episode[f"images.{camera}"], resize_pictures(recorded, *shape))
        table = pq.read_table(dataset_layout.path_of(collected, dataset_layout.DATA_PATH, number))
        np.testing.assert_array_equal(episode["action"], np.float32(table["action"].to_pylist()))
        assert episode["subtask"][-1] == "Done."
        assert episode["instruction"] == row["tasks"][0]


def test_the_goal_is_the_picture_as_the_subtask_ends(collected, tmp_path):
    data = opened(collected, tmp_path, goal_seconds=1.0)
    batch = data.batch(0, data.frames)
    goals = {}
    for state, goal in zip(batch["state"].numpy(), batch["goal.top"].numpy(), strict=True):
        goals.setdefault(state.tobytes(), []).append(goal)
    for row in read_episode_rows(collected):
        number = row["episode_index"]
        table = pq.read_table(dataset_layout.path_of(collected, dataset_layout.DATA_PATH, number))
        episode = data.episode(number, held_out=False)
        said = list(zip(table["subtask_number"].to_pylist(), episode["subtask"], strict=True))
        for frame, state in enumerate(episode["state"]):
            ends = (later for later in range(frame, len(said)) if said[later] != said[frame])
            expected = episode["images.top"][next(ends, len(said) - 1)]
            assert any(np.array_equal(goal, expected) for goal in goals[state.tobytes()])
