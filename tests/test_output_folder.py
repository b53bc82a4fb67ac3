"""What cannot be written is said in two lines, and what was there stays whole."""

import errno
import resource

import pytest
import torch
from safetensors.torch import save_file

from lohovla.errors import UserError
from lohovla.output_folder import disk_errors, lock_folder, write_atomically


def test_a_full_disk_is_two_lines_whoever_writes(tmp_path):
    for error in (OSError(errno.ENOSPC, "x"), RuntimeError("I/O error: No space left on device (os error 28)")):
        with pytest.raises(UserError) as found, disk_errors(tmp_path, "run it again"):
            raise error
        assert found.value.cause == f"cannot write to {tmp_path}: No space left on device"
        assert found.value.remedy == "make room and run it again"


def test_the_writer_of_weights_is_understood(tmp_path):
    """Its exception is not the system's; the text of it is what tells."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(UserError, match="File too large"), disk_errors(tmp_path, "run it again"):
            save_file({"a": torch.zeros(65536)}, tmp_path / "weights")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("error", [ConnectionResetError(errno.ECONNRESET, "x"), ValueError("(os error 2)"), KeyError()])
def test_other_errors_pass(error, tmp_path):
    with pytest.raises(type(error)), disk_errors(tmp_path, ""):
        raise error


def test_a_file_is_whole_or_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"before")

    def fill(self, data):
        with self.open("wb") as file:
            file.write(data[:2])
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("pathlib.Path.write_bytes", fill)
    with pytest.raises(OSError, match="full"):
        write_atomically(path, b"after")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_held_by_one(tmp_path):
    file = lock_folder(tmp_path, "training")
    with pytest.raises(UserError, match="another training is writing to"):
        lock_folder(tmp_path, "training")
    file.close()
    lock_folder(tmp_path, "training").close()
