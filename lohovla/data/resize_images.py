"""Pictures at the size that a policy reads: one function, for those of a data set and for those of a robot."""

from __future__ import annotations

import numpy as np
from PIL import Image

WIDTH_STEP = 8  # pixels; widths are a multiple of it, so that patches of 4 or 8 pixels fit
# Its window spans the area that a pixel of the result covers, with soft edges: where sizes are no multiples of one
# another, a hard-edged box moves edges by half a pixel. Pillow computes it in whole numbers, so that it is the same
# everywhere.
_FILTER = Image.Resampling.HAMMING


def width_for(height: int, width: int, wanted_height: int) -> int:
    """Width of a picture of ``height`` x ``width`` at another height: the same proportions, in steps of 8 pixels."""
    return max(WIDTH_STEP, round(width * wanted_height / height / WIDTH_STEP) * WIDTH_STEP)


def resize_pictures(pictures: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pictures at another size, each pixel an average over the area that it covers.

    Args:
        pictures: uint8 (N, H, W, 3).
        height: of the result, pixels.
        width: of the result.

    Returns:
        uint8 (N, height, width, 3); the pictures themselves where that is their size.

    Raises:
        ValueError: they are no such pictures.
    """
    if pictures.ndim != 4 or pictures.shape[-1] != 3 or pictures.dtype != np.uint8:
        raise ValueError(f"pictures are uint8 (N, H, W, 3), not {pictures.dtype} {pictures.shape}")
    if pictures.shape[1:3] == (height, width):
        return pictures
    resized = np.empty((len(pictures), height, width, 3), np.uint8)
    for number, picture in enumerate(pictures):
        resized[number] = np.asarray(Image.fromarray(picture).resize((width, height), _FILTER))
    return resized
