"""The index of a small mp4 file, read without a demuxer.

FFmpeg decodes a picture before it calls a file open, which costs more than a handful of pictures. For the plain
files that data sets are made of (one H.264 track, pictures in the order of their times) the index alone will do;
for anything else :func:`read_mp4_index` answers None, and FFmpeg has to open it. Boxes are those of ISO/IEC 14496-12,
the decoder's settings those of 14496-15.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

LARGEST = 4 << 20  # bytes; opening a larger file costs little beside what is read from it
_SAMPLE_ENTRY = 78  # bytes of a visual sample entry before its own boxes


@dataclass(frozen=True)
class Mp4Index:
    """Encoded pictures in the order of their times.

    Attributes:
        settings: what the decoder must know first (``avcC``).
        packets: the encoded pictures.
        times: when each is shown, seconds, (T,).
        keys: numbers of those that need no others, rising.
    """

    settings: bytes
    packets: list[bytes]
    times: np.ndarray
    keys: np.ndarray


def read_mp4_index(path: Path) -> Mp4Index | None:
    """A file's pictures, or None if it is large or not as simple as that."""
    if path.stat().st_size > LARGEST:
        return None
    data = path.read_bytes()
    try:
        return _film(data)
    except (KeyError, IndexError, ValueError, struct.error):
        return None


def _film(data: bytes) -> Mp4Index | None:
    top = dict(_boxes(data))
    tracks = [box for kind, box in _boxes(top[b"moov"]) if kind == b"trak"]
    if b"moof" in top or len(tracks) != 1:
        return None
    track = dict(_boxes(tracks[0]))
    media = dict(_boxes(track[b"mdia"]))
    table = dict(_boxes(dict(_boxes(media[b"minf"]))[b"stbl"]))
    if b"ctts" in table or not _from_the_start(track):
        return None
    kind, entry = next(_boxes(table[b"stsd"][8:]))
    if kind != b"avc1":
        return None
    sizes = _sizes(table[b"stsz"])
    offsets = _offsets(table, sizes)
    repeats, deltas = _numbers(table[b"stts"], 8).reshape(-1, 2).T
    steps = np.repeat(deltas, repeats)
    packets = [data[at : at + size] for at, size in zip(offsets.tolist(), sizes.tolist(), strict=True)]
    if any(map(len, packets)) and len(steps) == len(sizes) and offsets[-1] + sizes[-1] <= len(data):
        keys = _numbers(table[b"stss"], 8) - 1 if b"stss" in table else np.arange(len(sizes))
        settings = dict(_boxes(entry[_SAMPLE_ENTRY:]))[b"avcC"]
        return Mp4Index(settings, packets, (np.cumsum(steps) - steps) / _timescale(media[b"mdhd"]), keys)
    return None


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each box."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            (size,), head = struct.unpack_from(">Q", data, at + 8), 16
        size = size or len(data) - at
        if size < head or at + size > len(data):
            raise ValueError("a box is cut off")
        yield kind, data[at + head : at + size]
        at += size


def _numbers(box: bytes, begin: int, dtype: str = ">u4") -> np.ndarray:
    return np.frombuffer(box, dtype, offset=begin).astype(np.int64)


def _timescale(box: bytes) -> int:
    """Ticks a second, of ``mdhd``; version 1 has longer dates before it."""
    return struct.unpack_from(">I", box, 20 if box[0] else 12)[0]


def _from_the_start(track: dict[bytes, bytes]) -> bool:
    """Whether the edit list, if there is one, shows the track as it is."""
    if b"edts" not in track:
        return True
    box = dict(_boxes(track[b"edts"]))[b"elst"]
    (count,) = struct.unpack_from(">I", box, 4)
    (begin,) = struct.unpack_from(">q", box, 16) if box[0] else struct.unpack_from(">i", box, 12)
    return count == 1 and begin == 0


def _sizes(box: bytes) -> np.ndarray:
    """Bytes of each picture."""
    fixed, count = struct.unpack_from(">II", box, 4)
    return np.full(count, fixed) if fixed else _numbers(box, 12)


def _offsets(table: dict[bytes, bytes], sizes: np.ndarray) -> np.ndarray:
    """Where each picture begins in the file: chunks hold a few each, one after the other."""
    chunks = _numbers(table[b"co64"], 8, ">u8") if b"co64" in table else _numbers(table[b"stco"], 8)
    firsts, counts, _ = _numbers(table[b"stsc"], 8).reshape(-1, 3).T
    per_chunk = np.repeat(counts, np.diff(firsts - 1, append=len(chunks)))
    begins = np.cumsum(sizes) - sizes
    chunk_of = np.repeat(np.arange(len(chunks)), per_chunk)
    first_of_chunk = np.cumsum(per_chunk) - per_chunk
    return chunks[chunk_of] + begins - begins[first_of_chunk[chunk_of]]
