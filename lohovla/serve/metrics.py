"""Metrics in Prometheus's text format (version 0.0.4): counters, gauges, histograms."""

from __future__ import annotations

import bisect
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_Labels = tuple[tuple[str, str], ...]


class Counter:
    """A number that only grows, one for each combination of labels."""

    kind = "counter"

    def __init__(self) -> None:
        self._values: dict[_Labels, float] = {}
        self._lock = threading.Lock()

    def add(self, amount: float = 1, **labels: str) -> None:
        """Count ``amount`` more."""
        key = tuple(sorted(labels.items()))
        with self._lock:
            self._values[key] = self._values.get(key, 0) + amount

    def value(self, **labels: str) -> float:
        """What was counted under these labels."""
        return self._values.get(tuple(sorted(labels.items())), 0)

    def samples(self) -> Iterator[tuple[str, _Labels, float]]:
        """(suffix of the name, labels, value) of each line."""
        with self._lock:
            values = dict(self._values) or {(): 0.0}
        for labels, value in values.items():
            yield "", labels, value


class Gauge:
    """A number that is read when somebody asks."""

    def __init__(self, read: Callable[[], float], labels: _Labels = (), kind: str = "gauge") -> None:
        self._read, self._labels, self.kind = read, labels, kind

    def samples(self) -> Iterator[tuple[str, _Labels, float]]:
        """(suffix of the name, labels, value) of the line."""
        yield "", self._labels, self._read()


class Histogram:
    """How often values fell at or below each bound."""

    kind = "histogram"

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0
        self._lock = threading.Lock()

    def observe(self, value: float) -> None:
        """Note a value."""
        with self._lock:
            self._counts[bisect.bisect_left(self._bounds, value)] += 1
            self._sum += value

    def samples(self) -> Iterator[tuple[str, _Labels, float]]:
        """(suffix of the name, labels, value) of each line."""
        with self._lock:
            counts, total = list(self._counts), self._sum
        below = 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), counts, strict=True):
            below += count
            yield "_bucket", (("le", bound),), below
        yield "_sum", (), total
        yield "_count", (), below


class Registry:
    """A server's metrics, by name."""

    def __init__(self) -> None:
        self._metrics: dict[str, tuple[str, list[Counter | Gauge | Histogram]]] = {}

    def counter(self, name: str, help: str) -> Counter:
        """Add a counter; its name ends in ``_total``."""
        counter = Counter()
        self._metrics[name] = help, [counter]
        return counter

    def gauge(self, name: str, help: str, read: Callable[[], float], **labels: str) -> None:
        """Add a gauge that calls ``read``; the same name may come again with other labels."""
        self._metrics.setdefault(name, (help, []))[1].append(Gauge(read, tuple(sorted(labels.items()))))

    def total(self, name: str, help: str, read: Callable[[], float], **labels: str) -> None:
        """Add a counter that somebody else keeps: ``read`` tells its value."""
        self._metrics.setdefault(name, (help, []))[1].append(Gauge(read, tuple(sorted(labels.items())), "counter"))

    def histogram(self, name: str, help: str, bounds: Sequence[float] = SECONDS) -> Histogram:
        """Add a histogram with these upper bounds."""
        histogram = Histogram(bounds)
        self._metrics[name] = help, [histogram]
        return histogram

    def text(self) -> str:
        """Everything, as Prometheus reads it."""
        lines = []
        for name, (help_, metrics) in self._metrics.items():
            lines += [f"# HELP {name} {help_}", f"# TYPE {name} {metrics[0].kind}"]
            for suffix, labels, value in (sample for metric in metrics for sample in metric.samples()):
                inside = ",".join(f'{key}="{_escape(text)}"' for key, text in labels)
                lines.append(
                    f"{name}{suffix}{{{inside}}} {_number(value)}" if inside else f"{name}{suffix} {_number(value)}"
                )
        return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value)).replace("nan", "NaN")


def resident_bytes() -> float:
    """Memory that this process holds, bytes; NaN where /proc does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return float("nan")
    return float(pages * os.sysconf("SC_PAGE_SIZE"))
