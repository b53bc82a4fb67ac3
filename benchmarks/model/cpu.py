"""What was tried to make the model faster on a CPU, beside what it does: eight-bit layers, memory layout, bfloat16.

Times are of the process's own processor time, so that other programs on the machine count little.
"""

from __future__ import annotations

import copy
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lohovla.benchmarks.bench_utils import emit
from lohovla.benchmarks.model.model import decision_parts, observation_of

_PARTS = ("prefix", "plan ar grammar", "points", "chunk ee 4", "chunk ee 10")


def run(checkpoint: str | None, task: str, rounds: int, threads: int | None) -> dict[str, Any]:
    """Time each variant beside the model as it is, in turn; print a table, and return the record."""
    from lohovla.model.backends.inference_backend import InferenceBackend
    from lohovla.model.checkpoint import load_checkpoint

    torch.set_num_threads(threads or 1)
    model, processor = load_checkpoint(checkpoint)
    observation = observation_of(task)
    with torch.inference_mode():
        plain = decision_parts(InferenceBackend(model), processor, observation)
        eight = decision_parts(InferenceBackend(eight_bit(model)), processor, observation)
        pairs = {f"{name}, eight-bit layers": (plain[name], eight[name]) for name in _PARTS}
        picture = processor([observation]).picture
        stem = _Contiguous(model.stem)
        narrow = copy.deepcopy(model.stem).to(torch.bfloat16)
        pairs["stem, not channels-last"] = (lambda: model.stem(picture), lambda: stem(picture))
        pairs["stem, bfloat16"] = (lambda: model.stem(picture), lambda: narrow(picture.bfloat16()))
        apart = float((plain["chunk ee 4"]() - eight["chunk ee 4"]()).abs().max())
        rows = {name: _both(*pair, rounds) for name, pair in pairs.items()}
    print("| part and variant | as it is, ms | so, ms |\n|---|---|---|")
    for name, (before, after) in rows.items():
        print(f"| {name} | {before:.1f} | {after:.1f} |")
    print(f"eight-bit layers move poses by at most {apart:.1e} m or rad")
    before, after = (sum(rows[f"{name}, eight-bit layers"][k] for name in _PARTS[:4]) for k in range(2))
    return emit(
        "cpu",
        "decision in eight bits",
        after,
        "ms of processor time",
        baseline=before,
        ratio=before / after,
        apart=apart,
        rows=rows,
        threads=torch.get_num_threads(),
        rounds=rounds,
    )


def eight_bit(model: nn.Module) -> Any:
    """A copy of a model whose linear layers have int8 weights, and inputs scaled as they come."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch wants users to move to another package
        from torch.ao.quantization import quantize_dynamic

        return quantize_dynamic(copy.deepcopy(model), {nn.Linear}, torch.qint8)


class _Contiguous(nn.Module):
    """A stem that keeps pictures channel by channel."""

    def __init__(self, stem: Any):
        super().__init__()
        self._stem = copy.deepcopy(stem).to(memory_format=torch.contiguous_format)

    def forward(self, picture: Tensor) -> Tensor:
        stem: Any = self._stem
        x = stem.norm(stem.coarse(stem.pool(stem.fine(stem.entry(picture.contiguous())))))
        return stem.head(x)


def _both(one: Callable[[], Any], other: Callable[[], Any], rounds: int) -> tuple[float, float]:
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for call, spent in zip((one, other), times, strict=True):
            began = time.process_time()
            call()
            if number:  # the first warms up
                spent.append((time.process_time() - began) * 1e3)
    return statistics.median(times[0]), statistics.median(times[1])
