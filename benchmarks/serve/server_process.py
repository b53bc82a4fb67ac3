"""A server in a process of its own, as `lohovla serve policy` or `lohovla serve text` starts it."""

from __future__ import annotations

import importlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

STEM = ("policy=custom", "policy.factory=lohovla.benchmarks.serve.fake_policy:FakePolicy")


class ServerProcess:
    """Starts the server on a free port and waits until it listens; a context manager that ends it.

    Args:
        overrides: settings of ``lohovla serve``.
        what: policy or text.
        log: file for what it says on stderr; nowhere if None.
        environment: variables to add.

    Raises:
        ImportError: what servers need is not installed.
        RuntimeError: it ended instead of listening; the message is what it said.
    """

    def __init__(
        self,
        *overrides: str,
        what: str = "policy",
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ):
        for package in ("fastapi", "uvicorn") if what == "text" else ("msgpack", "websockets"):
            importlib.import_module(package)
        command = [sys.executable, "-m", "lohovla.cli", "serve", what, "port=0", *overrides]
        with open(log or os.devnull, "ab") as errors:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **(environment or {})}
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"(wss?|https?)://([^;/\s]+):(\d+)", line)
        if not found:
            self.process.wait()
            raise RuntimeError(f"the server did not start: {log.read_text() if log else line}")
        self.url, self.host, self.port = found[0], found[2], int(found[3])

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def terminate(self) -> None:
        """Send SIGTERM: the server drains."""
        self.process.send_signal(signal.SIGTERM)

    def status(self, key: str = "VmRSS") -> float:
        """A line of the process's status, MB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        found = re.search(rf"^{key}:\s+(\d+) kB", text, re.MULTILINE)
        return int(found[1]) / 1024 if found else float("nan")

    def cpu_seconds(self) -> float:
        """Processor time that the process has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def make_env(**settings: Any) -> Any:
    """The environment that the server's defaults describe."""
    from lohovla.envs.env import BlocksEnv

    return BlocksEnv(**settings)
