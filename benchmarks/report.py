"""What every benchmark prints last: one JSON object of known fields."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from typing import Any


def device() -> str:
    """The machine's processor and number of cores, in words."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            name = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {os.cpu_count()} cores"


def emit(name: str, metric: str, value: float, unit: str, **more: Any) -> dict[str, Any]:
    """Print the closing JSON line and return what it says.

    ``more`` holds ``baseline``, ``ratio`` and ``floor`` where there are such, and the settings.
    """
    record = {"name": name, "device": device(), "metric": metric, "value": round(value, 4), "unit": unit, **more}
    print(json.dumps(record))
    return record


def median(values: Sequence[float]) -> float:
    """The median of ``values``."""
    return float(statistics.median(values))
