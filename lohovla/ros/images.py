"""``sensor_msgs/Image`` and ``CompressedImage`` as arrays, and back."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from lohovla.ros.messages import Message, header

_COLORS = {"rgb8": ("RGB", 3), "bgr8": ("BGR", 3), "rgba8": ("RGB", 4), "bgra8": ("BGR", 4)}
_GREYS = {"mono8": 8, "8UC1": 8, "mono16": 16}
_DEPTHS = {"16UC1": "u2", "mono16": "u2", "32FC1": "f4"}
_DEPTH_PREFIX = 12  # bytes of parameters before the PNG of compressed_depth_image_transport
_LARGEST = 4096  # pixels an edge


class BadImage(ValueError):
    """A picture that cannot be what its message says."""


def color_of(message: Message) -> np.ndarray:
    """The colour picture uint8 (H, W, 3), red first, of an ``Image`` or a ``CompressedImage``.

    Encodings: rgb8, bgr8, rgba8, bgra8, mono8, 8UC1, mono16; jpeg and png.

    Raises:
        BadImage: another encoding, or fewer bytes than the size asks for.
    """
    if "format" in message:
        return _decompressed(message["data"], "RGB")
    encoding = message["encoding"]
    if encoding in _COLORS:
        order, channels = _COLORS[encoding]
        pixels = _rows(message, "u1", channels)
        return np.ascontiguousarray(pixels[..., :3] if order == "RGB" else pixels[..., 2::-1])
    if encoding in _GREYS:
        grey = _rows(message, "u1" if _GREYS[encoding] == 8 else "u2", 1)[..., 0]
        grey = grey if _GREYS[encoding] == 8 else (grey >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    raise BadImage(f"encoding {encoding!r} is no colour that is known here")


def depth_of(message: Message, unit: float = 0.001) -> np.ndarray:
    """Depth float32 (H, W), metres, 0 where there is none.

    Args:
        message: an ``Image`` of 16UC1 or 32FC1, or a ``CompressedImage`` of a 16-bit png, bare or with the
            parameters that ``compressedDepth`` puts before it.
        unit: m a step of 16-bit depth.

    Raises:
        BadImage: another encoding, or fewer bytes than the size asks for.
    """
    if "format" in message:
        data = message["data"]
        steps = _decompressed(data if data[:4] == b"\x89PNG" else data[_DEPTH_PREFIX:], "I;16")
        return steps.astype(np.float32) * np.float32(unit)
    encoding = message["encoding"]
    if encoding not in _DEPTHS:
        raise BadImage(f"encoding {encoding!r} is no depth that is known here")
    values = _rows(message, _DEPTHS[encoding], 1)[..., 0]
    if encoding == "32FC1":
        return np.where(np.isfinite(values), values, 0.0).astype(np.float32)
    return values.astype(np.float32) * np.float32(unit)


def _rows(message: Message, kind: str, channels: int) -> np.ndarray:
    """The pixels (H, W, channels) of an ``Image``, whatever its rows are padded with."""
    height, width, step = message["height"], message["width"], message["step"]
    dtype = np.dtype((">" if message["is_bigendian"] else "<") + kind)
    row = width * channels * dtype.itemsize
    if not (0 < height <= _LARGEST and 0 < width <= _LARGEST) or step < row:
        raise BadImage(f"{width} x {height} {message['encoding']} pixels in rows of {step} bytes")
    data = np.frombuffer(message["data"], np.uint8)
    if len(data) < height * step:
        raise BadImage(f"{len(data)} bytes where {height} rows of {step} were due")
    packed = np.ascontiguousarray(data[: height * step].reshape(height, step)[:, :row])
    return packed.view(dtype).reshape(height, width, channels)


def _decompressed(data: bytes, mode: str) -> np.ndarray:
    from PIL import Image

    try:
        picture = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
        if max(picture.size) > _LARGEST:
            raise BadImage(f"{picture.width} x {picture.height} pixels")
        if mode == "RGB":
            return np.asarray(picture.convert("RGB"))
        pixels = np.asarray(picture)
    except BadImage:
        raise
    except Exception as error:  # Pillow's many kinds
        raise BadImage(f"a picture that cannot be decoded: {error}") from None
    if pixels.ndim != 2 or pixels.dtype.itemsize < 2:
        raise BadImage(f"a picture of {pixels.dtype} where 16-bit depth was due")
    return pixels.astype(np.uint16)


def image(pixels: np.ndarray, encoding: str, seconds: float, frame: str) -> Message:
    """An ``Image`` of an array that already is what ``encoding`` says.

    Args:
        pixels: (H, W) or (H, W, C), little endian.
        encoding: such as ``rgb8`` or ``16UC1``.
        seconds: the stamp, s since the epoch.
        frame: the camera's optical frame.
    """
    pixels = np.ascontiguousarray(pixels)
    height, width = pixels.shape[:2]
    return {
        "header": header(seconds, frame), "height": height, "width": width, "encoding": encoding,
        "is_bigendian": 0, "step": pixels.nbytes // height, "data": pixels.tobytes(),
    }  # fmt: skip


def compressed(pixels: np.ndarray, format: str, seconds: float, frame: str, quality: int = 90) -> Message:
    """A ``CompressedImage`` of a colour picture (H, W, 3) or of 16-bit depth (H, W): ``jpeg`` or ``png``."""
    return {
        "header": header(seconds, frame),
        "format": format,
        "data": compress(pixels, format, quality),
    }


def compress(pixels: np.ndarray, format: str, quality: int = 90) -> bytes:
    """A picture as the bytes of a ``jpeg`` or ``png`` file."""
    from PIL import Image

    file = io.BytesIO()
    options: dict[str, Any] = {"quality": quality} if format == "jpeg" else {"compress_level": 1}
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()
