"""Progress where there is a terminal, and where there is none."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from lohovla.progress import LOG_FORMAT, ProgressLines, colored, progress
from lohovla.ros.transport.namespace import log_format

STAGES = "from lohovla.progress import progress\nfor _ in progress(range(3), desc='drawing', unit='film'): pass"


def test_lines_say_how_far_it_is_and_how_long_it_takes(capsys):
    for _ in ProgressLines(range(3), every=0.0, desc="drawing", unit=" films"):
        pass
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("drawing: 1 of 3 films, 00:00 gone, about 00:0")
    assert [line.split()[1] for line in lines] == ["1", "2", "3"]


def test_lines_count_what_was_done_before(capsys):
    with ProgressLines(total=10, initial=4, every=0.0, unit=" episodes") as bar:
        bar.update(1)
    assert capsys.readouterr().err.startswith("5 of 10 episodes, ")


def test_figures_are_told_in_the_next_line(capsys):
    with ProgressLines(total=10, every=0.0, unit=" steps") as bar:
        bar.set_postfix_str("loss 0.5")
        assert capsys.readouterr().err == ""
        bar.update(1)
    assert capsys.readouterr().err.endswith("; loss 0.5\n")


def test_every_long_work_tells_how_far_it_is_by_this():
    """A bare tqdm is a bar on a terminal and nothing elsewhere."""
    root = Path(__file__).parents[1]
    files = [path for name in ("lohovla", "benchmarks", "envs", "policies") for path in (root / name).rglob("*.py")]
    own = root / "lohovla" / "progress.py"
    bare = {path for path in files if path != own and re.search(r"\btqdm\(", path.read_text(encoding="utf-8"))}
    assert bare == set()


def test_the_log_has_one_form():
    assert log_format("") == LOG_FORMAT


def test_without_a_terminal_what_is_short_says_nothing():
    answer = subprocess.run([sys.executable, "-c", STAGES], capture_output=True, text=True, check=True)
    assert answer.stderr == ""


def test_a_terminal_has_a_bar():
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    subprocess.run([sys.executable, "-c", STAGES], stderr=theirs, check=True)
    os.close(theirs)
    shown = os.read(ours, 4096)
    assert b"drawing: 100%|" in shown
    assert b" films/s" in shown
    os.close(ours)


def test_quiet_is_quiet(capsys):
    assert list(progress(range(2), quiet=True)) == [0, 1]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("value", "written"), [("", "\x1b[1;32mnew\x1b[0m\x1b[K"), ("1", "new\x1b[K")])
def test_no_color_leaves_out_styles_alone(value, written, monkeypatch):
    monkeypatch.setenv("NO_COLOR", value)
    stream = io.StringIO()
    colored(stream).write("\x1b[1;32mnew\x1b[0m\x1b[K")
    assert stream.getvalue() == written
