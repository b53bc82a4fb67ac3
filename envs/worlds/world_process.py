"""A world in a process of its own, under another Python where it needs one, spoken to over its pipes."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lohovla.envs.worlds.world_server.pipe import read_message, write_message
from lohovla.errors import SetupError, UserError

_SERVE = "import sys; sys.path.append(sys.argv[1]); from {package}.serve import main; main()"
_PACKAGE = Path(__file__).parent / "world_server"


class WorldCalls(Protocol):
    """How a world is called, wherever it runs; see ``world_server.episodes.EpisodeSlots`` for the calls."""

    def call(self, name: str, /, **arguments: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Make a call; arrays among the arguments travel as bytes."""
        ...

    def close(self) -> None:
        """End the world."""
        ...


class WorldProcess:
    """A world's process; it ends when this one does, however that ends. Threads may call; one waits for the other.

    Args:
        python: the Python to run it with.
        kind: of the world, see ``world_server.serve.KINDS``.
        install: how to make such a Python, for messages.
        package: the folder with the server.

    Raises:
        SetupError: there is no such Python.
    """

    def __init__(self, python: str, kind: str, install: str, package: Path = _PACKAGE) -> None:
        self._python, self._kind, self._install = python, kind, install
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the process ends
        command = [python, "-u", "-c", _SERVE.format(package=package.name), str(package.parent)]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, bufsize=-1
            )
        except OSError as error:
            self._said.close()
            raise SetupError(f"cannot run world.python={python}: {error.strerror}", install) from None
        self._lock = threading.Lock()

    def call(self, name: str, /, **arguments: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Make a call and wait for its reply.

        Raises:
            UserError: the world raised an exception, or its process ended.
        """
        arrays = {key: value for key, value in arguments.items() if isinstance(value, np.ndarray)}
        plain = {key: value for key, value in arguments.items() if key not in arrays}
        with self._lock:
            try:
                write_message(self._process.stdin, {"call": name, **plain}, arrays)  # type: ignore[arg-type]
                header, results = read_message(self._process.stdout)  # type: ignore[arg-type]
            except (EOFError, OSError, ValueError):
                raise self._ended() from None
        if "error" not in header:
            return header, results
        raise world_error(self._kind, header["error"], header["missing"], self._python, self._install)

    def _ended(self) -> UserError:
        """Why the process is gone, from what it said last."""
        self._process.kill()
        code = self._process.wait()
        self._said.seek(0)
        lines = [line.strip() for line in self._said.read().decode(errors="replace").splitlines() if line.strip()]
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        said = f": {lines[-1]}" if lines else ""
        return UserError(f"the process of the world {self._kind} ended with {how}{said}", self._install)

    def close(self) -> None:
        """End the process: it goes when its input does."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            with contextlib.suppress(OSError):  # it went first
                self._process.stdin.close()
            try:
                self._process.wait(10.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._said.close()


def world_error(kind: str, line: str, missing: str, python: str, install: str) -> UserError:
    """What to raise for an exception of a world.

    Args:
        kind: of the world.
        line: the exception in one line.
        missing: the package that it says is not there, or "".
        python: where the world runs.
        install: how to install it.
    """
    if missing:
        return SetupError(f"{python} has no {missing}", install)
    return UserError(
        f"the world {kind}: {line}", "what was finished is kept; docs/worlds.md says how a world is set up"
    )
