"""A video that is written is what players and other programs open."""

import av
import numpy as np
import pytest

from lohovla.data.video import write_video

FPS = 10


@pytest.mark.parametrize("length", [1, 2, 7, 31])
def test_pictures_come_back_in_their_order_at_their_times(tmp_path, length, read_video):
    path = tmp_path / "v.mp4"
    write_video(path, [np.full((48, 64, 3), 8 * k, np.uint8) for k in range(length)], FPS)
    assert np.abs(read_video(path).mean(axis=(1, 2, 3)) - 8 * np.arange(length)).max() < 3
    with av.open(str(path)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    np.testing.assert_allclose(times, np.arange(length) / FPS, atol=1e-4)


def test_odd_sizes_are_padded_and_at_least_every_second_picture_is_a_key_frame(tmp_path, read_video):
    path = tmp_path / "v.mp4"
    write_video(path, [np.full((33, 47, 3), 100 + k, np.uint8) for k in range(6)], FPS)
    assert read_video(path).shape == (6, 34, 48, 3)
    with av.open(str(path)) as container:
        keys = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
    assert all(keys[::2])
