"""Videos of data sets: H.264 that every player opens, with key frames close enough for random access."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

_KEY_FRAME_EVERY = 2
PIXELS, FINE_PIXELS = "yuv420p", "yuv444p"  # colour at half the resolution, and at all of it
# Constant rate factors: 18 is hard to tell from the original in a picture of some size, but not where an object is a
# few pixels wide.
_QUALITY, _FINE_QUALITY = 18, 8


def write_video(path: Path, frames: Sequence[np.ndarray], fps: int, fine: bool = False) -> None:
    """Write pictures uint8 (H, W, 3) as an mp4. Odd sizes are padded by one row or column.

    Args:
        path: the file.
        frames: at least one.
        fps: frames a second.
        fine: with colour at full resolution and higher quality, for small pictures: about 40 dB in place of 30 for
            those of 96 x 96, twice the size.
    """
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w", format="mp4") as container:
        options = {
            "crf": str(_FINE_QUALITY if fine else _QUALITY),
            "preset": "veryfast",
            "g": str(_KEY_FRAME_EVERY),
            "bf": "0",
            # Quality propagated back from later frames has nothing to gain with key frames this close, and x264 then
            # gives other bytes for the same frames once in some hundred videos.
            "mbtree": "0",
        }
        stream: Any = container.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = FINE_PIXELS if fine else PIXELS
        stream.codec_context.thread_count = 1  # episodes are encoded side by side; one core each
        for frame in frames:
            padded = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            for packet in stream.encode(av.VideoFrame.from_ndarray(padded, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
