"""How far the robot's clock is from ours, how fast it runs, and which of its stamps is which of our moments.

Nothing but the standard library: this runs on the robot's side too.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import NamedTuple

_DRIFT = 1e-4  # s a second that an estimate is trusted less: crystals differ by less
_WINDOW = 10.0  # s over which the quickest message is looked for
_OTHER = 0.02  # from which difference of rates on it is another clock's, and not a crystal's or a queue's beginning
_BUCKET = 0.1  # s whose quickest message stands for all of them, where a rate is looked for
_SPAN = 2.0  # s of messages from which a rate is told
_LEAST = 0.8  # s of them that are needed
_STRAIGHT = 0.02  # s that they may be off a straight line
_UNPROVEN = 6.0  # s that a rate seen in messages alone counts: a queue that fills looks the same
_AGREE = 0.05  # between the rates of messages and of exchanges


class _Exchange(NamedTuple):
    """A question and its answer: a local moment and the remote one that belongs to it, and how far that may be off."""

    local: float
    remote: float
    error: float

    @property
    def offset(self) -> float:
        return self.local - self.remote


class ClockOffset:
    """Estimates which local moment belongs to a remote stamp: local is the loop's monotonic clock.

    A question and its answer (:meth:`exchange`) bound the offset from both sides, by half of the way there and back.
    A stamped message (:meth:`heard`) bounds it from one: it cannot come before it was sent. Without exchanges the
    quickest message of the last ten seconds is taken for one that took no time, which makes everything look younger
    by that much and no more.

    A simulator's clock may run at another rate. Messages show it at once, but a queue that fills between there and
    here looks the same: a rate counts only while two exchanges agree with it, and, before there are two, for a few
    seconds.

    Attributes:
        steps: how often the remote clock was found to have been set.
        rate: how fast the remote clock runs, in terms of ours; 1 unless it is surely another.
        slipping: the rate that messages alone show, where no exchange proves it; 1 where they show none.
    """

    def __init__(self) -> None:
        self._exchange: _Exchange | None = None
        self._before: _Exchange | None = None  # the one before the last, for the rate
        self._last: _Exchange | None = None
        self._heard: deque[tuple[float, float]] = deque()  # received, received - remote; increasing
        self._buckets: deque[tuple[float, float]] = deque()  # received, received - remote of the quickest in each
        self._lock = threading.Lock()  # messages and exchanges come in threads of their own
        self.steps = 0
        self.rate = self.slipping = 1.0

    def exchange(self, sent: float, remote: float, received: float) -> None:
        """A question that was sent and answered at local times, with the remote time in the answer."""
        with self._lock:
            self._take(_Exchange((sent + received) / 2, remote, (received - sent) / 2), received)

    def _take(self, new: _Exchange, received: float) -> None:
        self._before, self._last = self._last, new
        self._look_at_rate(received)
        if self._exchange is not None:
            known_error = self._error(received)
            if abs(new.local - self.local(new.remote)) > new.error + known_error + 0.01:
                self.steps += self.rate == 1.0
                self._heard.clear()
            elif new.error > known_error:
                return
        self._exchange = new

    def heard(self, remote: float, received: float) -> None:
        """A message stamped ``remote`` came at local time ``received``."""
        with self._lock:
            self._bound(received - remote, received)

    def _bound(self, bound: float, received: float) -> None:
        if self._buckets and abs(bound - self._buckets[-1][1]) > 1.0 + _SPAN:
            self._buckets.clear()  # it was set
        if not self._buckets or received - self._buckets[-1][0] >= _BUCKET:
            self._buckets.append((received, bound))
            while received - self._buckets[0][0] > _SPAN:
                self._buckets.popleft()
            self._look_at_rate(received)
        elif bound < self._buckets[-1][1]:
            self._buckets[-1] = self._buckets[-1][0], bound
        while self._heard and self._heard[-1][1] >= bound:
            self._heard.pop()
        self._heard.append((received, bound))
        while received - self._heard[0][0] > _WINDOW:
            self._heard.popleft()

    def _look_at_rate(self, now: float) -> None:
        """Whether the remote clock runs at another rate than ours."""
        told = self._rate_of_messages()
        proven = self._rate_of_exchanges()
        self.slipping, self.rate = told or 1.0, 1.0
        if told is None or self._last is None:
            return
        early = self._before is None and now - self._last.local < _UNPROVEN
        if early or (proven is not None and abs(proven - told) < _AGREE):
            self.rate = told if proven is None else proven
            self.slipping = 1.0

    def _rate_of_messages(self) -> float | None:
        """From the quickest messages of the last seconds; None where they show no other rate, or no line at all."""
        points = list(self._buckets)[:-1]  # the last is not full yet
        if len(points) < 5 or points[-1][0] - points[0][0] < _LEAST:
            return None
        middle = sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)
        spread = sum((x - middle[0]) ** 2 for x, _ in points)
        slope = sum((x - middle[0]) * (y - middle[1]) for x, y in points) / spread
        off = max(abs(y - middle[1] - slope * (x - middle[0])) for x, y in points)
        straight = off < _STRAIGHT + 0.1 * abs(slope) * (points[-1][0] - points[0][0])
        return 1.0 - slope if abs(slope) > _OTHER and straight and slope < 1.0 else None

    def _rate_of_exchanges(self) -> float | None:
        """From the last two; None where there are none, or they cannot tell it from ours."""
        if self._before is None or self._last is None or self._last.local <= self._before.local:
            return None
        elapsed = self._last.local - self._before.local
        drifted = self._last.offset - self._before.offset
        return 1.0 - drifted / elapsed if abs(drifted) > self._last.error + self._before.error + 0.01 else None

    def _error(self, now: float) -> float:
        assert self._exchange is not None
        drift = _DRIFT if self.rate == 1.0 else _OTHER
        return self._exchange.error + drift * max(now - self._exchange.local, 0.0)

    @property
    def known(self) -> bool:
        """Whether there is an estimate."""
        return self._exchange is not None or bool(self._heard)

    @property
    def proven(self) -> bool:
        """Whether there were exchanges enough to tell how fast the remote clock runs."""
        return self._before is not None

    @property
    def offset(self) -> float:
        """Local minus remote, s, at the last exchange or the quickest message; 0 before anything came."""
        bound = self._heard[0][1] if self._heard else None
        if self._exchange is None:
            return bound if bound is not None else 0.0
        offset, error = self._exchange.offset, self._exchange.error
        # A message cannot come before it was sent; more than the error off, it is the remote clock that was set.
        if self.rate == 1.0 and bound is not None and offset - error <= bound < offset:
            return bound
        return offset

    @property
    def error(self) -> float | None:
        """How far off the estimate can be, s, where an exchange told."""
        return None if self._exchange is None else self._exchange.error

    def local(self, remote: float) -> float:
        """The local moment of a remote stamp."""
        if self.rate == 1.0 or self._last is None:
            return remote + self.offset
        return self._last.local + (remote - self._last.remote) / self.rate

    def remote(self, local: float) -> float:
        """The remote stamp of a local moment."""
        if self.rate == 1.0 or self._last is None:
            return local - self.offset
        return self._last.remote + (local - self._last.local) * self.rate


def describe_clock(clock: ClockOffset) -> str:
    """What is odd about the robot's clock, in a line, or ""."""
    arrival = "robot.stamps=arrival takes messages for as old as they have been here"
    if clock.rate != 1.0:
        return f"its clock runs at {clock.rate:.2f} of ours: simulated time? {arrival}"
    if clock.slipping != 1.0:
        return (
            f"its stamps go on at {clock.slipping:.2f} of our time: its clock is another (simulated time?), "
            f"or messages come later and later. If it is the clock, {arrival}"
        )
    return ""
