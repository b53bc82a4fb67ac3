"""What went wrong or was prevented: each event with its cause and time, and counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

KEPT = 1000  # events kept in full; later ones are only counted


@dataclass(frozen=True)
class Event:
    """Something that the loop noticed.

    Attributes:
        time: when, s on the loop's clock since the episode began.
        kind: one of a few words, such as ``stale``.
        cause: the particulars in words.
    """

    time: float
    kind: str
    cause: str


class EventLog:
    """The events of one episode."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.counts: Counter[str] = Counter()
        self._standing: set[str] = set()
        self.origin = 0.0

    def add(self, now: float, kind: str, cause: str) -> None:
        """Log something that happened once."""
        self.counts[kind] += 1
        if len(self.events) < KEPT:
            self.events.append(Event(round(now - self.origin, 4), kind, cause))

    def state(self, now: float, kind: str, standing: bool, cause: str = "") -> None:
        """Log something that lasts, when it begins; it may begin again after it has ended."""
        if standing and kind not in self._standing:
            self._standing.add(kind)
            self.add(now, kind, cause)
        elif not standing:
            self._standing.discard(kind)
