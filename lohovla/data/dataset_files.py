"""Opening the files of a data set, so that a damaged one is one line that names it."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av.error
import pyarrow as pa
import pyarrow.parquet as pq

from lohovla.errors import UserError

# What reading a damaged table, text or video raises; errors of a user's making pass through :func:`unreadable`.
UNREADABLE = (
    UserError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    RecursionError,
    MemoryError,
    EOFError,
    zlib.error,
    zipfile.BadZipFile,
    pa.ArrowException,
    av.error.FFmpegError,
)


class DamagedFile(UserError):
    """A file of a data set that is missing or does not hold what it should.

    Args:
        root: the data set's folder.
        path: the file, in it.
        why: what is wrong, to be read after the path: ``is missing``.
    """

    def __init__(self, root: Path, path: Path, why: str):
        super().__init__(
            f"{path} {why}",
            f"restore it from a copy; `lohovla data check {root}` lists all that is wrong with the set",
        )
        self.root, self.path, self.why = root, path, why

    def __reduce__(self) -> tuple[type[DamagedFile], tuple[Path, Path, str]]:  # type: ignore[override]
        return type(self), (self.root, self.path, self.why)

    @property
    def line(self) -> str:
        """The cause, with the path as seen from the set's folder."""
        return f"{self.path.relative_to(self.root)} {self.why}"


def first_line(error: BaseException) -> str:
    """What an exception says, without the path, which the message has already."""
    said = getattr(error, "strerror", None) or str(error)
    return (said.splitlines() or [type(error).__name__])[0]


def unreadable(root: Path, path: Path, error: BaseException) -> UserError:
    """What to raise for a file that could not be read, where one of ``UNREADABLE`` was."""
    if isinstance(error, UserError):
        return error
    missing = isinstance(error, FileNotFoundError) or not path.exists()
    return DamagedFile(root, path, "is missing" if missing else f"cannot be read: {first_line(error)}")


def read_table(
    root: Path, path: Path, columns: Sequence[str] | None = None, leave_out: tuple[str, ...] = ()
) -> pa.Table:
    """A table, or some of its columns.

    Args:
        root: the data set's folder.
        path: the table, in it.
        columns: only these.
        leave_out: not those whose names begin so.

    Raises:
        DamagedFile: it is missing or no such table.
    """
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        names = file.schema_arrow.names
        if lost := [name for name in columns or () if name not in names]:
            raise DamagedFile(root, path, f"has no column {lost[0]}")
        wanted = names if columns is None else columns
        return file.read(columns=[name for name in wanted if not name.startswith(leave_out)])
    except UNREADABLE as error:
        raise unreadable(root, path, error) from None


def read_dataset_json(root: Path, path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        DamagedFile: it is missing or no such thing.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except UNREADABLE as error:
        raise unreadable(root, path, error) from None
    if not isinstance(value, dict):
        raise DamagedFile(root, path, "cannot be read: it is no JSON object")
    return value
