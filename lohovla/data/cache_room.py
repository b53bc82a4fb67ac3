"""Room for decoded pictures: what a folder of caches may take, and what goes when it is full."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from lohovla.errors import UserError

_IN_USE = ".in-use"  # locked, shared, by every process that reads a cache; its time says when one last did
_SPARE = 1 << 30  # bytes of the disk that are left free
_LESS = "a smaller image_height, fewer cameras=[...] or episodes=[...]"


def hold(folder: Path) -> TextIO:
    """Keep a cache from being removed as long as the file that is returned is open."""
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / _IN_USE).open("w")
    fcntl.flock(file, fcntl.LOCK_SH)
    os.utime(folder / _IN_USE)
    return file


def make_room(cache: Path, own: Sequence[Path], whole: int, new: int, limit: float) -> None:
    """See that pictures may be decoded; removes caches that nobody reads, the one last used longest ago first.

    Args:
        cache: the folder of all caches.
        own: the caches that are wanted.
        whole: bytes that these take when they are full.
        new: how many of them are still to be written.
        limit: bytes that all caches may take.

    Raises:
        UserError: they take too much.
    """
    if whole > limit:
        raise UserError(
            f"the decoded pictures take {whole / 1e9:.1f} GB, more than the {limit / 1e9:g} GB that they may",
            f"{_LESS}, or a higher cache_limit_gb",
        )
    cache.mkdir(parents=True, exist_ok=True)
    others = [folder for folder in cache.iterdir() if folder not in own and (folder / _IN_USE).exists()]
    others.sort(key=lambda folder: (folder / _IN_USE).stat().st_mtime)
    sizes = {folder: _size(folder) for folder in others}
    while others and (whole + sum(sizes.values()) > limit or new > _free(cache)):
        folder = others.pop(0)
        if _removed(folder):
            del sizes[folder]
    if new > (free := _free(cache)):
        raise UserError(
            f"the decoded pictures take {new / 1e9:.1f} GB more, but {cache} has {max(free, 0) / 1e9:.1f} GB to spare",
            f"{_LESS}, or cache=FOLDER on another disk",
        )


def _free(cache: Path) -> int:
    return shutil.disk_usage(cache).free - _SPARE


def _size(folder: Path) -> int:
    """Bytes that a cache takes on the disk, which are fewer than its files are long."""
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir() if path.is_file())


def _removed(folder: Path) -> bool:
    """Remove a cache, unless a process reads it."""
    try:
        with (folder / _IN_USE).open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
    except OSError:
        return False
    return True
