"""Videos of data sets: H.264 that every player opens, with key frames close enough for random access."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from lohovla.data.mp4_index import Mp4Index, read_mp4_index

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


def read_video(path: Path) -> np.ndarray:
    """All frames of a video, uint8 (T, H, W, 3)."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


class VideoReader:
    """Random access to frames of many videos; keeps the ones last used open, small ones in memory.

    Args:
        keep_open: how many files at once.
    """

    def __init__(self, keep_open: int = 32):
        self._keep_open = keep_open
        self._open: OrderedDict[Path, Any] = OrderedDict()
        self._decoders: dict[bytes, Any] = {}
        # Setting up a colour conversion costs ten times what it does: one for each size of picture.
        self._reformat: defaultdict[tuple[int, int], VideoReformatter] = defaultdict(VideoReformatter)

    def frames(self, path: Path, times: Sequence[float]) -> list[np.ndarray]:
        """The pictures, uint8 (H, W, 3), shown at some times of a video, to within half a frame.

        They are found in one go from the first on, so times should be close together.

        Args:
            path: the video.
            times: seconds, rising.

        Raises:
            ValueError: the video ends before.
        """
        file = self._file(path)
        pictures: list[np.ndarray] = []
        for frame, seconds, tolerance in self._from(file, times[0], times[-1]):
            if seconds >= times[len(pictures)] - tolerance:
                reformatter = self._reformat[frame.width, frame.height]
                pictures.append(reformatter.reformat(frame, format="rgb24").to_ndarray())
                if len(pictures) == len(times):
                    return pictures
        raise ValueError(f"{path} ends before {times[len(pictures)]:.3f} s")

    def _from(self, file: Any, begin: float, end: float) -> Iterator[tuple[Any, float, float]]:
        """Pictures from the last key frame before ``begin`` on, their times, and half the time between two."""
        if isinstance(file, Mp4Index):
            yield from self._decode(file, begin, end)
            return
        stream = file.streams.video[0]
        tolerance = 0.5 / float(stream.average_rate)
        file.seek(max(0, int((begin + tolerance / 2) / stream.time_base)), stream=stream)
        for frame in file.decode(stream):
            yield frame, frame.time, tolerance

    def _decode(self, film: Mp4Index, begin: float, end: float) -> Iterator[tuple[Any, float, float]]:
        """The same from memory, with one decoder for all films of the same settings; a new one costs a picture."""
        tolerance = 0.5 * (film.times[-1] / (len(film.times) - 1) if len(film.times) > 1 else 1.0)
        first, last = np.searchsorted(film.times, (begin - tolerance, end + tolerance))
        key = film.keys[max(0, int(np.searchsorted(film.keys, first, "right")) - 1)]
        if film.settings not in self._decoders:
            self._decoders[film.settings] = decoder = av.CodecContext.create("h264", "r")
            decoder.extradata, decoder.thread_count = film.settings, 1
        decoder = self._decoders[film.settings]
        try:
            frames = [frame for data in film.packets[key:last] for frame in decoder.decode(av.Packet(data))]
            frames += decoder.decode(None)
        finally:
            decoder.flush_buffers()
        if len(frames) != last - key:
            raise ValueError(f"{last - key} pictures should be in a video, but {len(frames)} can be decoded")
        for frame, seconds in zip(frames, film.times[key:last], strict=True):
            yield frame, seconds, tolerance

    def _file(self, path: Path) -> Any:
        """A video in memory or, if it is large or not a plain one, open."""
        if path in self._open:
            self._open.move_to_end(path)
            return self._open[path]
        if len(self._open) >= self._keep_open:
            _close(self._open.popitem(last=False)[1])
        self._open[path] = file = read_mp4_index(path) or self._container(path)
        return file

    def _container(self, path: Path) -> Any:
        # An mp4's index says all there is to know: probing its pictures would double the time.
        container = av.open(str(path), format="mp4", options={"probesize": "32", "analyzeduration": "0"})
        container.streams.video[0].codec_context.thread_count = 1
        return container


def _close(file: Any) -> None:
    if not isinstance(file, Mp4Index):
        file.close()
