"""What went wrong or was prevented: each event with its cause and time, and counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

KEPT = 1000  # events kept in full; later ones are only counted
SAME = 0.5  # s after its end within which a state that begins again is still the same one


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
        self._stood: dict[str, float] = {}  # when each state was last seen to stand
        self._gone: set[str] = set()  # those that do not any more
        self._again: dict[str, float] = {}  # since when those stand that came back too soon to be logged
        self.origin = 0.0

    def add(self, now: float, kind: str, cause: str) -> None:
        """Log something that happened once."""
        self.counts[kind] += 1
        if len(self.events) < KEPT:
            self.events.append(Event(round(now - self.origin, 4), kind, cause))

    def set_condition(self, now: float, kind: str, standing: bool, cause: str = "") -> None:
        """Log something that lasts, when it begins; it may begin again after it has ended.

        What comes and goes many times a second is logged once: to be logged again it has to have been away for
        :data:`SAME` seconds, or to last as long.
        """
        if not standing:
            self._gone.add(kind)
            self._again.pop(kind, None)
            return
        since = self._stood.get(kind)
        if since is None or (kind in self._gone and not 0.0 <= now - since <= SAME):
            self.add(now, kind, cause)
        elif kind in self._gone:
            self._again[kind] = now
        elif now - self._again.get(kind, now) > SAME:
            del self._again[kind]
            self.add(now, kind, cause)
        self._stood[kind] = now
        self._gone.discard(kind)
