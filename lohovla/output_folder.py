"""Folders that results are written to: one process at a time, and a full disk said in two lines."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lohovla.errors import UserError

_LOCK = ".lock"
# What a place that cannot be written to answers; anything else, a lost connection say, is another matter.
_REFUSED = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM}


def lock_folder(folder: Path, what: str) -> IO[str]:
    """Hold an existing folder until the file that is returned is closed, or the process ends.

    Args:
        folder: which.
        what: who else may hold it, for the message: ``training``, say.

    Raises:
        UserError: another process holds it, or it cannot be written to.
    """
    try:
        file = (folder / _LOCK).open("w")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}", "choose another output=FOLDER") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise UserError(f"another {what} is writing to {folder}", "wait for it, or choose output=FOLDER") from None
    return file


@contextmanager
def disk_errors(folder: Path, remedy: str) -> Iterator[None]:
    """Turn a full disk, and other refusals to write, into two lines; other errors pass.

    Args:
        folder: where results go, for the message.
        remedy: what to do when there is room.

    Raises:
        UserError: something could not be written.
    """
    try:
        yield
    except Exception as error:
        if (cause := _refusal(error)) is None:
            raise
        raise UserError(f"cannot write to {folder}: {cause}", f"make room and {remedy}") from None


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file that is either whole or as it was before; what was written of it goes if the disk is full."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(data)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    os.replace(part, path)


def _refusal(error: Exception) -> str | None:
    """Why a file could not be written, if that is what the error is about."""
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno in _REFUSED else None
    # safetensors has an exception of its own, which has the system's number in its text alone.
    found = re.search(r"\(os error (\d+)\)", str(error))
    return os.strerror(int(found[1])) if found and int(found[1]) in _REFUSED else None


def replace_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Write a folder in place of the one there; a kill leaves one of the two, whole."""
    new, old = folder.with_suffix(".new"), folder.with_suffix(".old")
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    write(new)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
