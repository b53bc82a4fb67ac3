"""The server of a world: reads calls from standard input, answers on standard output, and ends when the input does."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, BinaryIO

import numpy as np

from .episodes import EpisodeSlots, HostedWorld
from .pipe import read_message, write_message

# Worlds by the name of their kind: module here, class.
KINDS = {
    "metaworld": (".metaworld_world", "MetaWorldHost"),
    "libero": (".libero_world", "LiberoHost"),
    "gymnasium": (".gymnasium_world", "GymnasiumHost"),
}


def host_of(kind: str, settings: dict[str, Any]) -> HostedWorld:
    """The world of a kind, in this process."""
    module, name = KINDS[kind]
    return getattr(importlib.import_module(module, __package__), name)(settings)


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer calls until the other end is closed.

    A call is ``{"call": name, ...arguments}``; the first is ``open`` with ``kind`` and ``settings``. A reply holds what
    the call returns, or ``error``: what went wrong, in one line.
    """
    slots: EpisodeSlots | None = None
    while True:
        try:
            header, arrays = read_message(requests)
        except EOFError:
            return
        name = header.pop("call")
        try:
            if name == "open":
                host = host_of(header["kind"], header["settings"])
                slots = EpisodeSlots(host)
                reply: tuple[dict[str, Any], dict[str, np.ndarray]] = (host.describe(), {})
            else:
                reply = getattr(slots, name)(**header, **arrays)
        except Exception as error:  # whatever a world raises is said at the other end
            reply = ({"error": one_line(error), "missing": missing_package(error)}, {})
        write_message(replies, *reply)


def one_line(error: Exception) -> str:
    """An exception in one line, with its kind."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def missing_package(error: Exception) -> str:
    """The package that an exception says is not there, or ""."""
    return (error.name or "") if isinstance(error, ImportError) else ""


def main() -> None:
    """Serve over this process's own pipes."""
    if sys.platform == "linux":  # before MuJoCo is imported, which opens its window system otherwise
        os.environ.setdefault("MUJOCO_GL", "egl")
    # What a library prints must not come between the messages.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(os.fdopen(os.dup(0), "rb", buffering=0), replies)
    sys.stdout.flush()
    os._exit(0)  # OpenGL's contexts complain where they are freed late; there is nothing left to save


if __name__ == "__main__":
    main()
