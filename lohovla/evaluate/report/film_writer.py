"""What the films of all reports share: an mp4 that is written frame by frame, colours and type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageFont

BACKGROUND, TEXT, FAINT_TEXT, ACCENT, SOLVED = (
    (24, 27, 31),
    (240, 242, 245),
    (150, 158, 168),
    (96, 165, 250),
    (74, 200, 120),
)


def font(size: int) -> Any:
    """The type that frames are written in."""
    return ImageFont.load_default(size)


class FilmWriter:
    """An H.264 mp4 that every player opens.

    Args:
        path: the file to write.
        width: of a frame, pixels.
        height: of a frame, pixels.
        fps: frames a second.
        crf: quality, lower is better.
    """

    def __init__(self, path: Path, width: int, height: int, fps: int, crf: int):
        self._container = av.open(str(path), "w", format="mp4")
        options = {"crf": str(crf), "preset": "veryfast"}
        self._stream: Any = self._container.add_stream("libx264", rate=fps, options=options)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.codec_context.thread_count = 1

    def write(self, frame: Image.Image, times: int = 1) -> None:
        """Add a frame, as often as is asked for."""
        for _ in range(times):
            for packet in self._stream.encode(av.VideoFrame.from_ndarray(np.asarray(frame), format="rgb24")):
                self._container.mux(packet)

    def close(self) -> None:
        """Write what is left, and close the file."""
        for packet in self._stream.encode():
            self._container.mux(packet)
        self._container.close()
