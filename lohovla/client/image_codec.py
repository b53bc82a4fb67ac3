"""Pictures on the wire, coded: a map with the one key ``jpeg`` or ``png`` and the file's bytes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from lohovla.client.request_error import RequestError

CODINGS = ("raw", "png", "jpeg")


def encode_picture(picture: np.ndarray, coding: str, quality: int = 90) -> Any:
    """A picture as it is sent.

    Args:
        picture: uint8 (H, W, 3).
        coding: ``raw`` (as it is), ``png`` (the same pixels, smaller) or ``jpeg`` (other pixels, smallest).
        quality: of JPEG, 1 to 95.
    """
    if coding == "raw":
        return picture
    file = io.BytesIO()
    if coding == "png":
        Image.fromarray(picture).save(file, "PNG", compress_level=1)
    else:
        Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling=0)
    return {coding: file.getvalue()}


def is_coded(value: Any) -> bool:
    """Whether a value of an observation is a coded picture."""
    return isinstance(value, dict) and len(value) == 1 and next(iter(value)) in CODINGS[1:]


def decode_picture(value: dict[str, Any], max_pixels: int = 1 << 24) -> np.ndarray:
    """The picture, uint8 (H, W, 3).

    Raises:
        RequestError: it is no such picture, or larger than ``max_pixels``; its size is read before its pixels.
    """
    coding, data = next(iter(value.items()))
    if not isinstance(data, bytes):
        raise RequestError(f"a {coding} picture is bytes, not {type(data).__name__}")
    try:
        with Image.open(io.BytesIO(data), formats=[coding.upper()]) as file:
            if file.width * file.height > max_pixels:
                raise RequestError(f"a picture of {file.width} x {file.height} is too large")
            return np.asarray(file if file.mode == "RGB" else file.convert("RGB"))  # which copies
    except RequestError:
        raise
    except Exception as error:  # whatever a decoder makes of bytes that somebody sent
        raise RequestError(f"a {coding} picture cannot be read: {error}") from None
