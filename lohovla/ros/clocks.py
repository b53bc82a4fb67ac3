"""How far the robot's clock is from ours, and which of its stamps is which of our moments."""

from __future__ import annotations

from collections import deque

_DRIFT = 1e-4  # s a second that an estimate is trusted less: crystals differ by less
_WINDOW = 10.0  # s over which the quickest message is looked for


class ClockOffset:
    """Estimates ``local - remote``, where local is the loop's monotonic clock and remote the robot's stamps.

    A question and its answer (:meth:`exchange`) bound the offset from both sides, by half of the way there and back.
    A stamped message (:meth:`heard`) bounds it from one: it cannot come before it was sent. Without exchanges the
    quickest message of the last ten seconds is taken for one that took no time, which makes everything look younger
    by that much and no more.

    Attributes:
        steps: how often the remote clock was found to have been set.
    """

    def __init__(self) -> None:
        self._exchange: tuple[float, float, float] | None = None  # offset, error, when
        self._heard: deque[tuple[float, float]] = deque()  # received, received - remote; increasing
        self.steps = 0

    def exchange(self, sent: float, remote: float, received: float) -> None:
        """A question that was sent and answered at local times, with the remote time in the answer."""
        offset, error = (sent + received) / 2 - remote, (received - sent) / 2
        if self._exchange is not None:
            known, known_error = self._exchange[0], self._error(received)
            if abs(offset - known) > error + known_error + 0.01:
                self.steps += 1
                self._heard.clear()
            elif error > known_error:
                return
        self._exchange = offset, error, received

    def heard(self, remote: float, received: float) -> None:
        """A message stamped ``remote`` came at local time ``received``."""
        bound = received - remote
        while self._heard and self._heard[-1][1] >= bound:
            self._heard.pop()
        self._heard.append((received, bound))
        while received - self._heard[0][0] > _WINDOW:
            self._heard.popleft()

    def _error(self, now: float) -> float:
        assert self._exchange is not None
        return self._exchange[1] + _DRIFT * max(now - self._exchange[2], 0.0)

    @property
    def known(self) -> bool:
        """Whether there is an estimate."""
        return self._exchange is not None or bool(self._heard)

    @property
    def offset(self) -> float:
        """Local minus remote, s; 0 before anything came."""
        bound = self._heard[0][1] if self._heard else None
        if self._exchange is None:
            return bound if bound is not None else 0.0
        offset, error, _ = self._exchange
        # A message cannot come before it was sent; more than the error off, it is the remote clock that was set.
        if bound is not None and offset - error <= bound < offset:
            return bound
        return offset

    @property
    def error(self) -> float | None:
        """How far off the estimate can be, s, where an exchange told."""
        return None if self._exchange is None else self._exchange[1]

    def local(self, remote: float) -> float:
        """The local moment of a remote stamp."""
        return remote + self.offset

    def remote(self, local: float) -> float:
        """The remote stamp of a local moment."""
        return local - self.offset
