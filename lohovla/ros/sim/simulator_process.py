"""A simulated robot of one's own, for evaluations in one command: ``lohovla ros-sim`` as a process beside this one."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence

from lohovla.errors import UserError


class SimulatorProcess:
    """Runs ``lohovla ros-sim`` at a free port until it is closed.

    Args:
        task: what it plays.
        seed: of the first episode.
        cameras: what it publishes.
        namespace: of the robot.

    Attributes:
        url: of its rosbridge server.

    Raises:
        UserError: it did not start.
    """

    def __init__(self, task: str, seed: int, cameras: Sequence[str], namespace: str = ""):
        settings = [f"task={task}", f"seed={seed}", f"cameras=[{','.join(cameras)}]", "port=0"]
        settings += [f"namespace={namespace}"] if namespace else []
        command = [sys.executable, "-m", "lohovla.cli", "ros-sim", *settings]
        # A session of its own: Ctrl-C is for the bridge, which still needs a robot to brake.
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
        )
        assert self._process.stdout is not None
        found = re.search(r"behind rosbridge at (ws://[^;\s]+)", self._process.stdout.readline())
        if found is None:
            self.close()
            raise UserError("the simulated robot did not start", f"see why: lohovla ros-sim {settings[0]}")
        self.url = found[1]

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.communicate(timeout=10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
