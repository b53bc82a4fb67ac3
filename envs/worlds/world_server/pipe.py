"""Messages over a pipe: the length of a JSON header, the header, and the bytes of arrays. Both ends use it."""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

import numpy as np

_LENGTH = struct.Struct("<I")
_ARRAYS = "arrays"


def write_message(stream: BinaryIO, header: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> None:
    """Send a message.

    Args:
        stream: the pipe's end.
        header: JSON values; the key ``arrays`` is taken.
        arrays: by name, of any shape and numeric type.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
    described = {name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()}
    text = json.dumps({**header, _ARRAYS: described}).encode()
    stream.write(b"".join([_LENGTH.pack(len(text)), text, *(array.tobytes() for array in arrays.values())]))
    stream.flush()


def read_message(stream: BinaryIO) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Wait for a message; arrays may be written to.

    Raises:
        EOFError: the other end is closed.
        ValueError: what came is no message.
    """
    header = json.loads(_exactly(stream, _LENGTH.unpack(_exactly(stream, _LENGTH.size))[0]))
    arrays = {}
    for name, (kind, shape) in header.pop(_ARRAYS).items():
        dtype = np.dtype(kind)
        count = int(np.prod(shape, dtype=np.int64))
        data = bytearray(_exactly(stream, count * dtype.itemsize))
        arrays[name] = np.frombuffer(data, dtype).reshape(shape)
    return header, arrays


def _exactly(stream: BinaryIO, count: int) -> bytes:
    """``count`` bytes: a pipe gives what it has."""
    parts = []
    while count:
        part = stream.read(count)
        if not part:
            raise EOFError("the other end of the pipe is closed")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
