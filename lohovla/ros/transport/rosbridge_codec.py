"""The rosbridge v2 protocol's frames: JSON, CBOR with typed arrays, PNG-packed JSON, fragments."""

from __future__ import annotations

import base64
import io
import json
import math
from typing import Any

import cbor2
import numpy as np

_TYPED = {  # tags of RFC 8746, little endian
    64: "u1",
    68: "u1",
    69: "<u2",
    70: "<u4",
    71: "<u8",
    72: "i1",
    77: "<i2",
    78: "<i4",
    79: "<i8",
    84: "<f2",
    85: "<f4",
    86: "<f8",
}
_TAG_OF_DOUBLES = 86
_MOST_PARTS = 10_000


class BadFrame(ValueError):
    """A frame that is no message of the protocol."""


def pack(operation: dict[str, Any]) -> str:
    """An operation as a text frame.

    Raises:
        ValueError: it holds a number that is not finite, which a server would turn into null.
    """
    return json.dumps(operation, allow_nan=False, separators=(",", ":"))


def pack_cbor(operation: dict[str, Any]) -> bytes:
    """An operation as a binary frame; lists of floats become typed arrays, as servers send them."""
    return cbor2.dumps(_typed(operation))


def _typed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _typed(entry) for key, entry in value.items()}
    if isinstance(value, list):
        if value and all(type(entry) is float for entry in value):
            return cbor2.CBORTag(_TAG_OF_DOUBLES, np.asarray(value, "<f8").tobytes())
        return [_typed(entry) for entry in value]
    return value


def pack_png(text: str) -> str:
    """A text as base64 of a square PNG whose pixels' bytes are the text, padded with newlines."""
    from PIL import Image

    data = text.encode("utf-8")
    edge = max(1, math.ceil(math.sqrt(len(data) / 3)))
    data += b"\n" * (3 * edge * edge - len(data))
    file = io.BytesIO()
    Image.frombytes("RGB", (edge, edge), data).save(file, "png")
    return base64.b64encode(file.getvalue()).decode("ascii")


class Unpacker:
    """Turns frames into operations; remembers the parts of messages that came in fragments."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[int, str]] = {}

    def __call__(self, frame: str | bytes) -> dict[str, Any] | None:
        """The operation of a frame, or None while parts are missing.

        Raises:
            BadFrame: it is none.
        """
        operation = self._load(frame)
        if operation.get("op") == "fragment":
            whole = self._join(operation)
            return None if whole is None else self(whole)
        if operation.get("op") == "png":
            return self(self._unpack_png(operation))
        return operation

    def _load(self, frame: str | bytes) -> dict[str, Any]:
        try:
            operation = json.loads(frame) if isinstance(frame, str) else cbor2.loads(frame, tag_hook=_untag)
        except (ValueError, cbor2.CBORDecodeError, EOFError, RecursionError) as error:
            raise BadFrame(str(error)) from None
        if not isinstance(operation, dict):
            raise BadFrame(f"a frame holds {type(operation).__name__}")
        return operation

    def _join(self, operation: dict[str, Any]) -> str | None:
        try:
            key, number, total = str(operation["id"]), int(operation["num"]), int(operation["total"])
            data = str(operation["data"])
        except (KeyError, TypeError, ValueError) as error:
            raise BadFrame(f"a fragment without {error}") from None
        if not 0 <= number < total <= _MOST_PARTS:
            raise BadFrame(f"fragment {number} of {total}")
        parts = self._parts.setdefault(key, {})
        parts[number] = data
        if len(parts) < total:
            while len(self._parts) > 8:  # of messages that never become whole
                self._parts.pop(next(iter(self._parts)))
            return None
        del self._parts[key]
        return "".join(parts[k] for k in range(total))

    def _unpack_png(self, operation: dict[str, Any]) -> str:
        from PIL import Image

        try:
            picture = Image.open(io.BytesIO(base64.b64decode(operation["data"])))
            return picture.tobytes().decode("utf-8").rstrip("\n")
        except Exception as error:  # whatever Pillow makes of broken files
            raise BadFrame(f"a png that cannot be read: {error}") from None


def fragments(text: str, key: str, size: int) -> list[str]:
    """A text frame as fragments of at most ``size`` characters.

    The total is given as servers give it, a float that is not always whole: 4.3 for four parts and a bit means that
    the last part holds the rest.
    """
    count = max(1, len(text) // size)
    parts = [text[k * size : (k + 1) * size if k < count - 1 else None] for k in range(count)]
    total = max(len(text) / size, 1.0)
    return [
        pack({"op": "fragment", "id": key, "data": part, "num": number, "total": total})
        for number, part in enumerate(parts)
    ]


def _untag(*arguments: Any) -> Any:
    """Typed arrays as numpy's; other tags stay what they are. The last argument that has a tag is it."""
    tag = next(a for a in reversed(arguments) if isinstance(a, cbor2.CBORTag))
    if tag.tag in _TYPED and isinstance(tag.value, bytes):
        return np.frombuffer(tag.value, _TYPED[tag.tag])
    return tag
