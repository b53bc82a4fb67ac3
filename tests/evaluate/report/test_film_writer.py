"""What all films are written with: as many frames as were asked for, of the size asked for."""

import av
from PIL import Image

from lohovla.evaluate.report.film_writer import FilmWriter


def test_frames_are_written_as_often_as_asked(tmp_path):
    film = FilmWriter(tmp_path / "film.mp4", 64, 48, fps=20, crf=20)
    film.write(Image.new("RGB", (64, 48), (200, 0, 0)), 3)
    film.write(Image.new("RGB", (64, 48), (0, 0, 200)))
    film.close()
    with av.open(str(tmp_path / "film.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 4
    assert frames[2][..., 0].mean() > 150 > 50 > frames[3][..., 0].mean()
