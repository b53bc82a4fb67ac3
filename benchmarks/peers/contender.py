"""A contender of a comparison: a process of its own that works in turns, and what it takes of the machine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


_USER_ERROR = 2  # exit code of what LoHoVLA's own side refuses in two lines


@dataclass(frozen=True)
class Contender:
    """How one is started.

    Attributes:
        name: of its row.
        command: interpreter and program.
        settings: JSON values that the program's ``prepare`` takes.
        environment: variables to add.
    """

    name: str
    command: Sequence[str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Turn:
    """What was done in a turn.

    Attributes:
        count: items.
        seconds: by the wall clock.
        cpu: s of processor time of the process and its children.
        memory: MB that they hold at its end, shared pages counted once for each.
    """

    count: int
    seconds: float
    cpu: float
    memory: float


class ContenderFailed(RuntimeError):
    """A contender did not start, or ended in the middle."""


class ContenderProcess:
    """A contender that was started; a context manager that ends it.

    Attributes:
        facts: what it says about itself.

    Raises:
        ContenderFailed: it ended before it was ready; the message is the last that it said.
    """

    def __init__(self, contender: Contender, log: Path):
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [*contender.command, json.dumps(contender.settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **contender.environment},
                start_new_session=True,  # so that what it started ends with it
            )
        self.facts: dict[str, Any] = self._answer()["facts"]

    def turn(self, seconds: float) -> Turn:
        """Let it work for so long."""
        before = _used(self._process.pid)[0]
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        answer = self._answer()
        after, memory = _used(self._process.pid)
        cpu = after - before if answer.get("cpu") is None else float(answer["cpu"])
        return Turn(int(answer["count"]), float(answer["seconds"]), cpu, memory)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._end()
            said = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            last = " ".join(said[-2 if self._process.returncode == _USER_ERROR else -1 :])  # cause and remedy
            raise ContenderFailed(last or f"it ended with {self._process.returncode}")
        return dict(json.loads(line))

    def __enter__(self) -> ContenderProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended, and all of its own
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


def _used(root: int) -> tuple[float, float]:
    """Processor time, s, and memory, MB, of a process and all that it started and that still run."""
    parents: dict[int, int] = {}
    spent: dict[int, float] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        number = int(path.parent.name)
        # user, system, and those of children that were waited for
        parents[number], spent[number] = int(fields[1]), sum(map(int, fields[11:15])) / _TICKS
    own = {root}
    while more := {child for child, parent in parents.items() if parent in own} - own:
        own |= more
    return sum(spent.get(number, 0.0) for number in own), sum(_resident(number) for number in own)


def _resident(number: int) -> float:
    try:
        pages = int(Path(f"/proc/{number}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
