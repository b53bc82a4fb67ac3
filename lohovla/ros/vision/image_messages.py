"""``sensor_msgs/Image`` and ``CompressedImage`` as arrays, and back."""

from __future__ import annotations

import io
import re
import struct
from typing import Any

import numpy as np

from lohovla.ros.transport.message_types import Message, header

_COLORS = {"rgb8": ("RGB", 3), "bgr8": ("BGR", 3), "rgba8": ("RGB", 4), "bgra8": ("BGR", 4)}
_GREYS = {"mono8": 8, "8UC1": 8, "mono16": 16}
_DEPTHS = {"16UC1": "u2", "mono16": "u2", "32FC1": "f4"}
_CONFIG = struct.Struct("<iff")  # before the PNG of compressed_depth_image_transport: kind, and a and b of the quantum
_PNG = b"\x89PNG"
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
            parameters that ``compressedDepth`` puts before it. Depths of 32FC1 are inverse and quantised there:
            depth = a / (value - b), in metres, with a and b from those parameters.
        unit: m a step of 16-bit depth.

    Raises:
        BadImage: another encoding, or fewer bytes than the size asks for.
    """
    if "format" in message:
        return _compressed_depth(message["format"], message["data"], unit)
    encoding = message["encoding"]
    if encoding not in _DEPTHS:
        raise BadImage(f"encoding {encoding!r} is no depth that is known here")
    values = _rows(message, _DEPTHS[encoding], 1)[..., 0]
    if encoding == "32FC1":
        return np.where(np.isfinite(values), values, 0.0).astype(np.float32)
    return values.astype(np.float32) * np.float32(unit)


def _compressed_depth(format: str, data: bytes, unit: float) -> np.ndarray:
    """Depth in metres of a ``CompressedImage``, whose format is such as ``32FC1; compressedDepth png``."""
    words = set(re.findall(r"\w+", format))
    bare = data[:4] == _PNG
    if "rvl" in words or "jpeg" in words or not (bare or data[_CONFIG.size :][:4] == _PNG):
        raise BadImage(f"depth in the format {format!r} is not known here: a 16-bit png is, compressedDepth's too")
    if "32FC1" not in words:
        steps = _decompressed(data if bare else data[_CONFIG.size :], "I;16")
        return steps.astype(np.float32) * np.float32(unit)
    if bare:
        raise BadImage(f"depth in the format {format!r} without the parameters that turn it into metres")
    _, a, b = _CONFIG.unpack(data[: _CONFIG.size])
    steps = _decompressed(data[_CONFIG.size :], "I;16").astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.float32(a) / (steps - np.float32(b))
    return np.where((steps > 0) & np.isfinite(depth) & (depth > 0), depth, 0.0).astype(np.float32)


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
            return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))  # which copies
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
        "header": header(seconds, frame),
        "height": height,
        "width": width,
        "encoding": encoding,
        "is_bigendian": 0,
        "step": pixels.nbytes // height,
        "data": pixels.tobytes(),
    }


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
