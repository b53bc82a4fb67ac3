"""The coding of messages: msgpack with NumPy arrays, checked before anything is allocated; never pickle.

An array is a map of four byte-string keys: ``__ndarray__`` (true), ``data`` (C order), ``dtype``
(``numpy.dtype.str``) and ``shape``. A NumPy scalar is one of three: ``__npgeneric__``, ``data``, ``dtype``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

from lohovla.client.request_error import RequestError

MAX_DEPTH = 16  # maps and lists within one another
MAX_ITEMS = 1 << 16  # values, keys included
_MAX_RANK = 8
_KINDS = "biufSUmM"  # what is left of NumPy's without V (structures), O (objects) and c
_DTYPE = re.compile(r"[<>|=]?[biufcSUVOmM]\d{0,9}(\[\w{1,8}\])?")
_SCALARS = {"b": (bool, int), "i": (int,), "u": (int,), "f": (float, int), "S": (bytes,), "U": (str,)}


def pack_message(message: Mapping[str, Any]) -> bytes:
    """A message as bytes.

    Raises:
        TypeError: a value is of no kind that the wire knows.
    """
    packed = msgpack.packb(message, default=_encode_numpy)
    assert packed is not None
    return packed


def _encode_numpy(value: Any) -> Any:
    if not isinstance(value, np.ndarray | np.generic):
        raise TypeError(f"{type(value).__name__} cannot be sent")
    if value.dtype.kind not in _KINDS:
        raise TypeError(f"arrays of {value.dtype} cannot be sent")
    if isinstance(value, np.ndarray):
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}


def unpack_message(data: bytes) -> dict[str, Any]:
    """A message from bytes; its arrays are read-only views of them.

    Raises:
        RequestError: it is no msgpack map, too deep, of too many values, or an array in it is malformed.
    """
    check_structure(data)
    try:
        message = msgpack.unpackb(data, object_hook=_decode_numpy, strict_map_key=True)
    except RequestError:
        raise
    except Exception as error:  # msgpack's many kinds, ValueError and UnicodeDecodeError among them
        raise RequestError(f"the message is no valid msgpack: {error or type(error).__name__}") from None
    if not isinstance(message, dict):
        raise RequestError(f"a message is a map, not {type(message).__name__}")
    for key in message:
        if not isinstance(key, str):
            raise RequestError(f"keys of a message are strings, not {key!r:.40}")
    return message


def _decode_numpy(value: dict[Any, Any]) -> Any:
    if b"__ndarray__" in value:
        return _array(value.get(b"data"), value.get(b"dtype"), value.get(b"shape"))
    if b"__npgeneric__" in value:
        return _scalar(value.get(b"data"), value.get(b"dtype"))
    return value


def _array(data: Any, dtype: Any, shape: Any) -> np.ndarray:
    kind = _dtype(dtype)
    if not isinstance(shape, list) or len(shape) > _MAX_RANK:
        raise RequestError(f"an array's shape is a list of at most {_MAX_RANK} numbers, not {shape!r:.60}")
    if not all(type(size) is int and 0 <= size < 1 << 31 for size in shape):
        raise RequestError(f"an array's shape cannot be {shape!r:.60}")
    wanted = math.prod(shape) * kind.itemsize
    if not isinstance(data, bytes) or len(data) != wanted:
        found = f"{len(data)} bytes" if isinstance(data, bytes) else type(data).__name__
        raise RequestError(f"an array {shape!r:.60} of {kind} has {wanted} bytes, not {found}")
    return np.ndarray(buffer=data, dtype=kind, shape=tuple(shape))


def _scalar(data: Any, dtype: Any) -> Any:
    kind = _dtype(dtype)
    # `bytes(10**9)` would be a gigabyte of zeros: the value must be what the type stands for.
    if not isinstance(data, _SCALARS.get(kind.kind, ())):
        raise RequestError(f"a scalar of {kind} cannot be {type(data).__name__}")
    try:
        with np.errstate(over="ignore"):
            return kind.type(data)
    except (ValueError, OverflowError) as error:
        raise RequestError(f"a scalar of {kind}: {error}") from None


def _dtype(text: Any) -> np.dtype[Any]:
    try:
        kind = np.dtype(text) if isinstance(text, str) and _DTYPE.fullmatch(text) else None
    except (TypeError, ValueError):
        kind = None
    if kind is None:
        raise RequestError(f"there is no dtype {text!r:.40}")
    if kind.kind not in _KINDS or not kind.itemsize:
        raise RequestError(f"arrays of dtype {text!r:.40} are not taken")
    return kind


def check_structure(data: bytes) -> None:
    """Walk over a msgpack value's headers without building anything.

    Raises:
        RequestError: it is cut short or has a tail, is nested deeper than ``MAX_DEPTH``, has more than
            ``MAX_ITEMS`` values, or holds an extension type.
    """
    position, open_, items = 0, [1], 0  # how many values are still to come at each level
    while open_:
        if not open_[-1]:
            open_.pop()
            continue
        open_[-1] -= 1
        items += 1
        if items > MAX_ITEMS:
            raise RequestError(f"the message has more than {MAX_ITEMS} values")
        position, inside = _skip(data, position)
        if inside:
            if len(open_) > MAX_DEPTH:
                raise RequestError(f"the message is nested deeper than {MAX_DEPTH}")
            open_.append(inside)
    if position > len(data):
        raise RequestError("the message is cut short")
    if position < len(data):
        raise RequestError(f"the message has {len(data) - position} bytes after its end")


_SIZES = {
    0xC0: 0,
    0xC2: 0,
    0xC3: 0,
    0xCA: 4,
    0xCB: 8,
    0xCC: 1,
    0xCD: 2,
    0xCE: 4,
    0xCF: 8,
    0xD0: 1,
    0xD1: 2,
    0xD2: 4,
    0xD3: 8,
}
_BLOBS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}  # bytes and strings: bytes of their length
_GROUPS = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}  # lists and maps; values an entry


def _skip(data: bytes, position: int) -> tuple[int, int]:
    """Where the value at ``position`` ends or its content begins, and how many values are in it."""
    if position >= len(data):
        raise RequestError("the message is cut short")
    head, position, inside = data[position], position + 1, 0
    if head < 0x80 or head >= 0xE0:
        return position, 0
    if head < 0x90:
        inside = 2 * (head & 15)
    elif head < 0xA0:
        inside = head & 15
    elif head < 0xC0:
        position += head & 31
    elif head in _SIZES:
        position += _SIZES[head]
    elif head in _BLOBS:
        size = _BLOBS[head]
        position += size + int.from_bytes(data[position : position + size], "big")
    elif head in _GROUPS:
        size, each = _GROUPS[head]
        inside = each * int.from_bytes(data[position : position + size], "big")
        position += size
    else:
        raise RequestError(f"the message holds {head:#x}, an extension type or no msgpack")
    if position + inside > len(data):
        raise RequestError("the message is cut short")
    return position, inside
