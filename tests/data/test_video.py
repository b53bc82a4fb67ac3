"""Any picture of a video is found, with or without a demuxer, and both find the same."""

import av
import numpy as np
import pytest

from lohovla.data import video
from lohovla.data.mp4_index import read_mp4_index
from lohovla.data.video import VideoReader, read_video, write_video

FPS = 10


def noise(length, height=48, width=64):
    return list(np.random.default_rng(0).integers(0, 256, (length, height, width, 3), np.uint8))


@pytest.fixture(params=["in memory", "by ffmpeg"])
def way(request, monkeypatch):
    """How videos are opened."""
    if request.param == "by ffmpeg":
        monkeypatch.setattr(video, "read_mp4_index", lambda path: None)
    return request.param


@pytest.mark.parametrize("length", [1, 2, 7, 31])
def test_pictures_are_found_by_time_in_any_order(tmp_path, way, length):
    path = tmp_path / "v.mp4"
    write_video(path, noise(length), FPS)
    expected, reader = read_video(path), VideoReader()
    for at in np.random.default_rng(1).permutation(length):
        np.testing.assert_array_equal(reader.frames(path, [at / FPS])[0], expected[at])
    some = list(range(length // 2, length, 3))
    np.testing.assert_array_equal(reader.frames(path, [at / FPS for at in some]), expected[some])


def test_a_time_past_the_end_is_refused(tmp_path, way):
    path = tmp_path / "v.mp4"
    write_video(path, noise(4), FPS)
    with pytest.raises(ValueError, match=r"v\.mp4 ends before 0\.600 s"):
        VideoReader().frames(path, [0.3, 0.6])


def test_videos_of_different_sizes_take_turns(tmp_path, way):
    paths = {size: tmp_path / f"{size}.mp4" for size in (32, 33, 64)}
    for size, path in paths.items():
        write_video(path, noise(3, size, size), FPS)
    reader = VideoReader(keep_open=2)
    for size in (32, 64, 33, 32):
        np.testing.assert_array_equal(reader.frames(paths[size], [0.1])[0], read_video(paths[size])[1])


def test_a_file_of_many_chunks_is_in_order(tmp_path):
    path = tmp_path / "v.mp4"
    write_video(path, noise(60, 256, 320), FPS)
    assert path.stat().st_size > 2 << 20  # ffmpeg begins a new chunk after each mebibyte
    film = read_mp4_index(path)
    assert film is not None
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        assert film.packets == [bytes(packet) for packet in packets]
        np.testing.assert_allclose(film.times, [float(packet.pts * packet.time_base) for packet in packets])
        assert film.keys.tolist() == [at for at, packet in enumerate(packets) if packet.is_keyframe]


@pytest.mark.parametrize(("codec", "flags"), [("libx264", ""), ("libx264", "negative_cts_offsets"), ("mpeg4", "")])
def test_what_is_not_plain_is_left_to_ffmpeg(tmp_path, codec, flags):
    """Pictures out of order, or another codec; found all the same."""
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w", options={"movflags": flags} if flags else {}) as container:
        stream = container.add_stream(
            codec, rate=FPS, options={"bf": "2", "b_strategy": "0", "sc_threshold": "0"} if codec == "libx264" else {}
        )
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for picture in noise(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    assert read_mp4_index(path) is None
    np.testing.assert_array_equal(VideoReader().frames(path, [0.5])[0], read_video(path)[5])


def test_a_large_file_is_left_to_ffmpeg(tmp_path, monkeypatch):
    path = tmp_path / "v.mp4"
    write_video(path, noise(4), FPS)
    assert read_mp4_index(path) is not None
    monkeypatch.setattr("lohovla.data.mp4_index.LARGEST", path.stat().st_size - 1)
    assert read_mp4_index(path) is None


def test_a_damaged_file_is_no_film(tmp_path):
    path = tmp_path / "v.mp4"
    write_video(path, noise(6), FPS)
    whole = path.read_bytes()
    for length in (0, 7, 100, len(whole) - 300, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert read_mp4_index(path) is None
