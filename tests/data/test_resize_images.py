"""Pictures are made smaller without losing what lies between the pixels, and alike wherever it is done."""

import numpy as np
import pytest

from lohovla.data.resize_images import resize_pictures, width_for


def test_the_width_keeps_the_proportions_in_steps_of_eight():
    assert width_for(480, 640, 96) == 128
    assert width_for(160, 320, 96) == 192
    assert width_for(100, 130, 96) == 128
    assert width_for(640, 10, 96) == 8


@pytest.mark.parametrize("size", [(96, 128), (36, 40), (96, 96)])
def test_a_pixel_is_the_mean_of_its_area(size):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (2, 288, 384, 3), np.uint8)
    small = resize_pictures(pictures, *size)
    assert small.shape == (2, *size, 3)
    # Noise averages out: a filter that picks pixels would keep its deviation of 74.
    share = size[0] * size[1] / (288 * 384)
    assert small.std() < 2.5 * 74 * np.sqrt(share)
    assert abs(small.mean() - pictures.mean()) < 0.6
    ramp = np.broadcast_to(np.linspace(0, 255, 384)[None, None, :, None], pictures.shape).astype(np.uint8)
    expected = 255 * (np.arange(size[1]) + 0.5) / size[1]
    assert np.abs(resize_pictures(ramp, *size)[0, 5, :, 0] - expected).max() < 3


def test_pictures_of_that_size_are_left_alone_and_others_refused():
    pictures = np.zeros((1, 8, 8, 3), np.uint8)
    assert resize_pictures(pictures, 8, 8) is pictures
    for wrong in (pictures[0], pictures[..., :1], pictures.astype(np.float32)):
        with pytest.raises(ValueError, match="pictures are uint8"):
            resize_pictures(wrong, 4, 4)
