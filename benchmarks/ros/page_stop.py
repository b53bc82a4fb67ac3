"""How long a press of STOP on the page takes to reach the arm, with the page open and the model playing.

The simulated robot and the bridge (``lohovla ros`` with its page and the model) are processes of their own. This one
holds the page's enable and asks for state and pictures as a browser does; every few moments it presses STOP, and hears
the twists that the arm is sent: when the last descent of speed begins, and when zero comes.
"""

from __future__ import annotations

import contextlib
import os
import re
import statistics
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import numpy as np

from lohovla.benchmarks.bench_utils import emit, markdown_table
from lohovla.errors import UserError
from lohovla.ros.sim.simulator_process import SimulatorProcess
from lohovla.ros.transport.rosbridge_client import Rosbridge
from lohovla.ros.transport.transport import Subscription

_TASK, _SEED = "put-block-into-matching-bowl", 2001
_TOPIC = "/sim/tool_twist"
_GOAL = 150.0  # ms
_MOVES = 0.1  # m/s at which STOP is pressed
_PATIENCE = 120.0  # s for the arm to move, and for the bridge to start
_ASKED = (("state", 0.1), ("camera", 0.15), ("path", 2.0))  # what a page asks for, and s between


def run(presses: int) -> dict[str, Any]:
    """Press ``presses`` times; print a table and the JSON line."""
    if not 1 <= presses <= 1000:
        raise UserError(f"presses must be from 1 to 1000, not {presses}", "presses=50 tells the largest of many")
    load = os.getloadavg()[0]
    simulator = SimulatorProcess(_TASK, _SEED, ["top"])
    try:
        found = _play(simulator.url, presses)
    finally:
        simulator.close()
    rows = [
        {"from the press to": name, "median, ms": statistics.median(times), "largest, ms": max(times)}
        for name, times in found.items()
    ]
    print(markdown_table(rows))
    return emit(
        "page-stop",
        "press of STOP to the first command that brakes, largest",
        max(found["brake"]),
        "ms",
        goal=_GOAL,
        load=round(load, 1),
        load_after=round(os.getloadavg()[0], 1),
        presses=presses,
        rows=rows,
    )


def _play(url: str, presses: int) -> dict[str, list[float]]:
    """The times of each press, ms: to the page's answer, to the brake, and to rest."""
    command = f"{{kind: twist, topic: {_TOPIC}, gain: 4.0}}"
    words = [
        f"url={url}",
        f"robot.command={command}",
        f"task={_TASK}",
        f"seed={_SEED}",
        "episodes=1000",
        "seconds=100000",
    ]
    bridge = subprocess.Popen(
        [sys.executable, "-m", "lohovla.cli", "ros", "robot=sim", "enable=page", "page.port=0", "record=false", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    heard: list[tuple[float, float]] = []
    transport, ended = Rosbridge(url, 2), threading.Event()
    transport.subscribe(Subscription(_TOPIC, "geometry_msgs/TwistStamped", lambda m: heard.append(_speed(m))))
    try:
        page = _address(bridge)
        asking = [(name, wait, lambda name=name: _ask(page, name)) for name, wait in _ASKED]
        for _, wait, ask in [*asking, ("enable", 0.1, lambda: _ask(page, "enable", b""))]:
            threading.Thread(target=_repeat, args=(ask, wait, ended), daemon=True).start()
        rng, rows = np.random.default_rng(0), []
        for _ in range(presses):
            _until(lambda: bool(heard) and heard[-1][1] > _MOVES and time.monotonic() - heard[-1][0] < 0.1)
            time.sleep(float(rng.uniform(0.0, 0.3)))
            pressed = time.monotonic()
            _ask(page, "stop", b"")
            answered = time.monotonic()
            _until(lambda pressed=pressed: heard[-1][0] > pressed and heard[-1][1] == 0.0)
            brake, rest = brake_of(np.array(heard), pressed)
            rows.append((answered - pressed, brake, rest))
            _ask(page, "release", b"")
            _ask(page, "start", b"")
        return {name: [1000.0 * row[k] for row in rows] for k, name in enumerate(("answer", "brake", "rest"))}
    finally:
        ended.set()
        transport.close()
        bridge.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            bridge.wait(20.0)
        bridge.kill()


def brake_of(heard: np.ndarray, pressed: float) -> tuple[float, float]:
    """Seconds from a press to the first command of the brake, and to the first of rest.

    Args:
        heard: when commands came and how fast they were, s and m/s (n, 2).
        pressed: s.
    """
    times, speeds = heard.T
    rest = int(np.flatnonzero((times > pressed) & (speeds == 0.0))[0])
    first = rest
    while first > 0 and times[first - 1] > pressed and speeds[first - 1] > speeds[first]:
        first -= 1
    slower = first if first == 0 or speeds[first] < speeds[first - 1] else min(first + 1, rest)
    return float(times[slower] - pressed), float(times[rest] - pressed)


def _speed(message: Any) -> tuple[float, float]:
    linear = message["twist"]["linear"]
    return time.monotonic(), float(np.linalg.norm([linear[axis] for axis in "xyz"]))


def _address(bridge: Any) -> str:
    for line in bridge.stdout:
        if found := re.search(r"watch it at (\S+)", line):
            threading.Thread(target=bridge.stdout.read, daemon=True).start()
            return found[1]
    raise UserError("the bridge did not start", "see why: lohovla ros robot=sim transport=sim enable=page")


def _ask(page: str, name: str, body: bytes | None = None) -> None:
    request = urllib.request.Request(f"{page}/{name}", data=body, headers={"X-Lohovla": "1"})
    with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(request, timeout=30.0) as answer:
        answer.read()


def _repeat(ask: Callable[[], None], wait: float, ended: threading.Event) -> None:
    while not ended.wait(wait):
        with contextlib.suppress(OSError):
            ask()


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE
    while not true():
        if time.monotonic() > end:
            raise UserError("the arm does not move as it should", "this machine is too busy to measure on")
        time.sleep(0.001)
