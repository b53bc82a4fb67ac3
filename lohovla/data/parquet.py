"""Parquet tables of data sets: arrays in, arrays out, each written whole or not at all."""

from __future__ import annotations

import base64
import io
import json
import math
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from lohovla.data.dataset_files import DamagedFile, read_table


def arrow_column(values: np.ndarray) -> pa.Array:
    """An Arrow column of (T, ...) values; each further axis becomes a list."""
    array: pa.Array = pa.array(np.ascontiguousarray(values).reshape(-1))
    for size in reversed(values.shape[1:]):
        offsets = pa.array(np.arange(0, len(array) + 1, size, dtype=np.int32))
        array = pa.ListArray.from_arrays(offsets, array)
    return array


def picture_column(pictures: np.ndarray) -> pa.Array:
    """An Arrow column of (T, H, W) uint16 pictures, PNG in base64 (``depth_feature``)."""
    encoded = []
    for picture in pictures:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "png", compress_level=1)
        encoded.append(base64.b64encode(buffer.getvalue()).decode("ascii"))
    return pa.array(encoded, pa.string())


def decode_stored_picture(value: Any) -> np.ndarray:
    """A picture of :func:`picture_column`, or of a column of type ``image``: (H, W) or (H, W, C).

    Raises:
        ValueError: it is none.
    """
    try:
        data = base64.b64decode(value, validate=True) if isinstance(value, str) else value["bytes"]
        return np.asarray(Image.open(io.BytesIO(data)))
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, Image.DecompressionBombError, struct.error) as error:
        raise ValueError(f"no picture: {error}") from None


def values_of(table: pa.Table, name: str, shape: Sequence[int]) -> np.ndarray:
    """A column back as (T, *shape) values; shape (1,) gives (T,).

    Raises:
        ValueError: it does not hold that.
    """
    array = table[name].combine_chunks()
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
    while pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type):
        array = array.flatten()
    if array.null_count:
        raise ValueError(f"column {name} has {array.null_count} empty values")
    flat = array.to_numpy(zero_copy_only=False)
    if flat.dtype.kind not in "biuf":
        raise ValueError(f"column {name} holds no numbers")
    if flat.size != len(table) * math.prod(shape):
        raise ValueError(f"column {name} has {flat.size} values for {len(table)} frames of shape {tuple(shape)}")
    return flat.reshape(-1, *shape) if tuple(shape) != (1,) else flat


ROW_GROUP = 16  # frames; what is read to get at one picture


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table so that its name never stands for half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(path.suffix + ".part")
    # With checksums a reader notices a flipped bit; without, it is another number.
    pq.write_table(table, part, compression="zstd", row_group_size=ROW_GROUP, write_page_checksum=True)
    _settle(part, path)


def write_json(value: Any, path: Path) -> None:
    """The same for JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(path.suffix + ".part")
    part.write_text(json.dumps(value, indent=2), encoding="utf-8")
    _settle(part, path)


def write_index(path: Path, index: str, rows: Mapping[str, int]) -> None:
    """A table of sentences to numbers, with the sentence as its pandas index, as the format has it."""
    number = f"{index}_index"
    table = pa.table({number: pa.array(list(rows.values()), pa.int64()), index: pa.array(list(rows), pa.string())})
    columns = [
        {"name": number, "field_name": number, "pandas_type": "int64", "numpy_type": "int64", "metadata": None},
        {"name": index, "field_name": index, "pandas_type": "unicode", "numpy_type": "object", "metadata": None},
    ]
    described = {"index_columns": [index], "column_indexes": [], "columns": columns, "pandas_version": "2.2.0"}
    write_table(table.replace_schema_metadata({"pandas": json.dumps(described)}), path)


def read_index(path: Path, index: str) -> dict[str, int]:
    """The sentences and numbers of :func:`write_index`, or of a table that pandas wrote.

    Raises:
        DamagedFile: it is missing or no such table.
    """
    root, number = path.parent.parent, f"{index}_index"
    table = read_table(root, path)
    names = [name for name in table.column_names if name != number]
    if number not in table.column_names or not names:
        raise DamagedFile(root, path, f"has no sentences with a {number} each")
    sentences, numbers = table[names[0]].to_pylist(), table[number].to_pylist()
    if not all(isinstance(sentence, str) for sentence in sentences) or not all(isinstance(n, int) for n in numbers):
        raise DamagedFile(root, path, f"has rows that are no sentence with a {number}")
    return dict(zip(sentences, numbers, strict=True))


def _settle(part: Path, path: Path) -> None:
    descriptor = os.open(part, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(part, path)
