"""What benchmarks share: times, tables, and the JSON object of known fields that each prints last."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

Row = dict[str, Any]


def device_name() -> str:
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
    record = {"name": name, "device": device_name(), "metric": metric, "value": round(value, 4), "unit": unit, **more}
    print(json.dumps(record))
    return record


def markdown_table(rows: Sequence[Row]) -> str:
    """A Markdown table of rows; a field that a row lacks is empty."""
    if not rows:
        return "nothing was measured"
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name, "")) for name in names] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in [names, ["---"] * len(names), *cells])


def _cell(value: Any) -> str:
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 100
        else f"{value:.0f}"
        if isinstance(value, float)
        else str(value)
    )


def timed(call: Callable[[], Any], device: Any, rounds: int = 20) -> float:
    """Milliseconds of a call, the median; on CUDA between events, the level-two cache written over before each."""
    import torch

    call()
    if device.type != "cuda":
        times = []
        for _ in range(rounds):
            began = time.perf_counter()
            call()
            times.append((time.perf_counter() - began) * 1e3)
        return median(times)
    call()
    other = torch.empty(256 << 20, dtype=torch.uint8, device=device)
    marks = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(rounds)]
    for began, ended in marks:
        other.zero_()
        began.record()
        call()
        ended.record()
    torch.cuda.synchronize()
    return median([began.elapsed_time(ended) for began, ended in marks])


def graphed(call: Callable[[], Any], device: Any) -> Callable[[], Any]:
    """The call as one CUDA graph over the tensors that it now reads; elsewhere the call itself."""
    import torch

    if device.type != "cuda":
        return call
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph, made = torch.cuda.CUDAGraph(), []
    with torch.cuda.graph(graph):
        made.append(call())

    def replay() -> Any:
        graph.replay()
        return made[0]

    return replay


def compiled(function: Callable[..., Any], device: Any) -> Callable[..., Any]:
    """Under ``torch.compile`` on CUDA; elsewhere the function itself, as compiling takes long."""
    import torch

    return torch.compile(function, dynamic=False) if device.type == "cuda" else function


def median(values: Sequence[float]) -> float:
    """The median of ``values``."""
    return float(statistics.median(values))
