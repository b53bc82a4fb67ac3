"""Tables hold arrays of every shape and pictures without loss, and a file is whole or not there."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lohovla.data.dataset_layout import dequantise_depth, quantise_depth
from lohovla.data.parquet import (
    arrow_column,
    decode_stored_picture,
    picture_column,
    read_index,
    values_of,
    write_index,
    write_table,
)


@pytest.mark.parametrize("shape", [(1,), (7,), (2, 4), (3, 2, 5)])
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_columns_come_back_as_they_went(tmp_path, shape, dtype):
    values = np.random.default_rng(0).integers(0, 2, (11, *shape)).astype(dtype)
    values = values[:, 0] if shape == (1,) else values
    write_table(pa.table({"x": arrow_column(values)}), tmp_path / "t.parquet")
    back = values_of(pq.read_table(tmp_path / "t.parquet"), "x", shape)
    np.testing.assert_array_equal(back, values)
    assert back.dtype == values.dtype


def test_depth_is_kept_without_loss(tmp_path):
    unit = 2e-5
    steps = np.random.default_rng(0).integers(0, 2**15, (3, 8, 12)).astype(np.uint16)
    metres = dequantise_depth(steps, unit)
    write_table(pa.table({"d": picture_column(quantise_depth(metres, unit))}), tmp_path / "t.parquet")
    rows = pq.read_table(tmp_path / "t.parquet")["d"].to_pylist()
    back = np.stack([dequantise_depth(decode_stored_picture(row), unit) for row in rows])
    assert back.tobytes() == metres.tobytes()


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    write_table(pa.table({"x": [1, 2]}), path)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lohovla.data.parquet.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_table(pa.table({"x": [3]}), path)
    assert pq.read_table(path)["x"].to_pylist() == [1, 2]


def test_sentences_keep_their_numbers(tmp_path):
    rows = {"Stack blocks.": 0, "Put the “red” block away.": 1}
    write_index(tmp_path / "tasks.parquet", "task", rows)
    assert read_index(tmp_path / "tasks.parquet", "task") == rows
    assert b'"index_columns": ["task"]' in pq.read_schema(tmp_path / "tasks.parquet").metadata[b"pandas"]
