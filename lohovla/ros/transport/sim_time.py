"""The time of a simulator that tells it on ``/clock``: slower or faster than ours, and sometimes begun again."""

from __future__ import annotations

import bisect
import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

from lohovla.ros.transport.message_types import Message, seconds_of
from lohovla.ros.transport.transport import Subscription

_log = logging.getLogger("lohovla.ros")
CLOCK = "/clock"
_KEPT = 2000  # moments: some seconds of a fast simulator
_RATE_OVER = 1.0  # s, of ours, over which the pace is measured
_THROTTLE = 0.005  # s: some simulators tell it a thousand times a second
_PATIENCE = 3.0  # s until it is said that nothing comes
_APART = 0.002  # s of ours between moments that are kept


class RosSimTime:
    """Which of the simulator's stamps is which of our moments; in place of ``ClockOffset``.

    Between two moments of ``/clock`` time runs straight; after the newest it runs on at the pace of the last second.

    Args:
        transport: to hear with.
        now: our clock, s.

    Attributes:
        steps: how often the simulator began again at an earlier time.
        rate, slipping, proven: as of a ``ClockOffset`` with which nothing is odd: that it runs apart is expected.
    """

    rate = slipping = 1.0
    proven = True

    def __init__(self, transport: Any, now: Callable[[], float] = time.monotonic):
        self._now, self.steps, self._began, self._said = now, 0, now(), False
        self._remote: list[float] = []
        self._local: list[float] = []
        self._lock = threading.Lock()
        transport.subscribe(Subscription(CLOCK, "rosgraph_msgs/Clock", self._take, throttle=_THROTTLE))

    def _take(self, message: Message) -> None:
        remote, local = seconds_of(message["clock"]), self._now()
        with self._lock:
            if self._remote and remote < self._remote[-1]:
                self.steps += 1
                self._remote, self._local = [], []
            if self._remote and (remote == self._remote[-1] or local - self._local[-1] < _APART):
                return
            self._remote.append(remote)
            self._local.append(local)
            if len(self._remote) > _KEPT:
                del self._remote[: _KEPT // 2], self._local[: _KEPT // 2]

    def exchange(self, sent: float, remote: float, received: float) -> None:
        """An answer of rosbridge's about its own clock says nothing about the simulator's."""

    def heard(self, remote: float, received: float) -> None:
        """Stamps of messages do not tell how far the clock is, which tells itself."""

    @property
    def known(self) -> bool:
        """Whether the simulator told its time."""
        return bool(self._remote)

    @property
    def offset(self) -> float:
        """Our time minus the simulator's, now, s; 0 before it told any."""
        now = self._now()
        return now - self.remote(now) if self.known else 0.0

    @property
    def error(self) -> None:
        """Not known."""
        return None

    @property
    def pace(self) -> float:
        """Seconds of the simulator in one of ours; 1 while that is not known."""
        with self._lock:
            return self._pace()

    def _pace(self) -> float:
        if len(self._local) < 2:
            return 1.0
        first = min(bisect.bisect_left(self._local, self._local[-1] - _RATE_OVER), len(self._local) - 2)
        return (self._remote[-1] - self._remote[first]) / (self._local[-1] - self._local[first])

    def local(self, remote: float) -> float:
        """Our moment of one of the simulator's."""
        with self._lock:
            if not self._remote:
                self._complain()
                return -math.inf  # as old as can be: nothing moves before the time is known
            return _between(self._remote, self._local, remote, 1.0 / max(self._pace(), 1e-6))

    def _complain(self) -> None:
        if not self._said and self._now() - self._began > _PATIENCE:
            self._said = True
            _log.warning("use_sim_time=true, and nothing has come on %s: does the simulator publish it?", CLOCK)

    def remote(self, local: float) -> float:
        """The simulator's moment of one of ours."""
        with self._lock:
            if not self._remote:
                return 0.0
            return _between(self._local, self._remote, local, self._pace())


def _between(xs: list[float], ys: list[float], x: float, slope: float) -> float:
    """Straight between the points, and on with ``slope`` outside of them."""
    k = bisect.bisect_right(xs, x)
    if k == 0:
        return ys[0] + slope * (x - xs[0])
    if k == len(xs):
        return ys[-1] + slope * (x - xs[-1])
    share = (x - xs[k - 1]) / (xs[k] - xs[k - 1])
    return ys[k - 1] + share * (ys[k] - ys[k - 1])
