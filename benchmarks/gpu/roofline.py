"""What the kernels move and compute, counted from their shapes, and the times that follow from it; needs no GPU.

A floor is what no kernel can be faster than: bytes at the memory's bandwidth or operations at the tensor cores' rate,
from data sheets. A prediction takes the share of both that good kernels reach, and the cost of a launch in a graph.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from lohovla.benchmarks.bench_utils import emit, markdown_table
from lohovla.benchmarks.gpu.gpu_text import LLADA
from lohovla.benchmarks.gpu.pi0 import Pi0
from lohovla.benchmarks.gpu.pi0_shape import Pi0Shape, launches
from lohovla.kernels.expert_attention import expert_attention
from lohovla.kernels.registry import KERNELS, Shapes
from lohovla.kernels.runtime import Cost
from lohovla.model.backends.graph_runners import EagerRunner, Pass
from lohovla.model.backends.graph_tensors import shapes_of, tensors_of

# Bytes and bfloat16 operations a second: NVIDIA's data sheets of the SXM boards, without sparsity.
BOARDS = {"H100": (3.35e12, 989e12), "H200": (4.8e12, 989e12)}
REACHED = 0.8, 0.6  # assumed shares of bandwidth and rate
LAUNCH = 2e-6  # s, assumed, of a small kernel inside a CUDA graph


def run() -> dict[str, Any]:
    """Print the counts and what is predicted from them, and return the record."""
    kernels = _kernels()
    decision = _decision()
    nano = [{"chunk steps": steps, **_nano(steps)} for steps in (10, 4, 2)]
    host = _show(
        "what the host launches for a decision of the nano, by block diffusion and 4 steps", decision_launches()
    )
    print(f"\na step of an 8B LLaDA, 64 rows on 1024: {_step()}")
    return emit(
        "kernels",
        "predicted decision of pi0's shape, H100",
        decision[-1]["predicted H100, ms"],
        "ms",
        floor=decision[-1]["floor H100, ms"],
        kernels=kernels,
        decision=decision,
        nano=nano,
        host=host,
        step=_step(),
        reached=REACHED,
        launch=LAUNCH,
    )


def _show(title: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    print(f"\n{title}\n{markdown_table(rows)}")
    return rows


def predicted(cost: Cost, board: str) -> float:
    """Seconds of one launch."""
    bandwidth, rate = BOARDS[board]
    return max(LAUNCH, cost.floor(bandwidth * REACHED[0], rate * REACHED[1]))


def _kernels() -> list[dict[str, Any]]:
    rows = []
    for name, kernel in KERNELS.items():
        for sizes in kernel.serving:
            inputs = kernel.inputs(sizes, torch.bfloat16, Shapes())
            cost, saved = kernel.module.cost(*inputs), kernel.module.saved(*inputs)
            row = {"kernel": name, "at": sizes_text(sizes), "needs, MB": cost.bytes / 1e6, "saves, MB": saved / 1e6}
            rows.append(row | {f"floor {b}, us": cost.floor(*rates) * 1e6 for b, rates in BOARDS.items()})
    return _show("what a call needs, and what separate passes move besides", rows)


def sizes_text(sizes: dict[str, Any]) -> str:
    """Sizes in one line; a list as its length."""
    return " ".join(f"{k}={len(v) if isinstance(v, list) else v}" for k, v in sizes.items())


def _decision() -> list[dict[str, Any]]:
    with torch.device("meta"):
        counts = Pi0(Pi0Shape()).floor_counts()
    rows: list[dict[str, Any]] = []
    for part, launched in launches(Pi0Shape()).items():
        floor = Cost(*counts[part])
        row: dict[str, Any] = {"part": part, "GB": floor.bytes / 1e9, "GFLOP": floor.operations / 1e9}
        row["launches"] = sum(n for n, _ in launched)
        for board, rates in BOARDS.items():
            row[f"floor {board}, ms"] = floor.floor(*rates) * 1e3
            row[f"predicted {board}, ms"] = sum(n * predicted(cost, board) for n, cost in launched) * 1e3
        rows.append(row)
    rows.append({"part": "all", **{key: sum(row[key] for row in rows) for key in rows[0] if key != "part"}})
    return _show("a decision of pi0's shape, fused", rows)


def _nano(steps: int) -> dict[str, Any]:
    """A chunk of the nano: it moves little; its time is that of its launches."""
    from lohovla.model.backends.graph_functions import GraphFunctions
    from lohovla.model.configuration import LoHoVLAConfig
    from lohovla.model.inference.action_sampling import ActionContext
    from lohovla.model.modeling_lohovla import LoHoVLA

    model = LoHoVLA(LoHoVLAConfig())
    text, config = model.config.text_config, model.config
    zeros = torch.zeros(1, config.expert_heads, 64, text.head_dim)
    cache = [(zeros, zeros) for _ in range(config.expert_layers)]
    given = torch.zeros(1, 13), torch.zeros(1, 4), torch.zeros(1, config.horizons["ee"], 7)
    heads = torch.zeros(1, config.expert_heads, config.horizons["ee"], text.head_dim)
    valid = torch.ones(1, 64, dtype=torch.bool)
    functions, context = GraphFunctions(model), ActionContext(torch.zeros(1, 2, 5), cache, valid)
    with torch.inference_mode():
        with _Launches() as counted:
            functions.sample_ee_chunk(steps, context, *given)
        with _Launches() as attended:
            expert_attention(heads, heads, heads, cache[0], valid)
    launched = counted.number - steps * config.expert_layers * (attended.number - 1)  # it is one kernel on a GPU
    weights = 4.0 * sum(p.numel() for p in model.experts["ee"].parameters())
    floor = {board: weights / bandwidth * 1e6 for board, (bandwidth, _) in BOARDS.items()}
    row = {"launches": launched, "weights, MB": weights / 1e6}
    row |= {f"weights once {board}, us": value for board, value in floor.items()}
    return _show(f"nano, a chunk of {steps} steps, fused", [row | {"predicted, ms": launched * LAUNCH * 1e3}])[0]


def decision_launches() -> list[dict[str, Any]]:
    """What the host launches for a decision: operations one by one, graphs, and operations beside graphs."""
    from lohovla.benchmarks.model.model import decision_parts, observation_of
    from lohovla.model.backends.inference_backend import InferenceBackend
    from lohovla.model.checkpoint import load_checkpoint

    (model, processor), observation = load_checkpoint(None), observation_of("put-block-into-matching-bowl")
    rows = []
    for title, backend, part in (
        ("eager", "eager", "whole decision"),
        ("pass by pass", "fused", "whole decision, by passes"),
        ("in one", "fused", "whole decision"),
    ):
        runner = _Replays()
        with torch.inference_mode():
            decide = decision_parts(InferenceBackend(model, backend, runner), processor, observation)[part]
            runner.graphs = runner.copies = 0
            with _Launches() as counted:
                decide()
        rows.append({"decided": title, "graphs": runner.graphs, "beside them": counted.number + runner.copies})
    return rows


class _Replays(EagerRunner):
    """Counts passes as graphs, and the copies into and out of each; not what happens in them."""

    def __init__(self) -> None:
        super().__init__(pad=True)
        self.graphs = self.copies = 0

    def __call__(self, name: str, work: Pass, given: tuple[Any, ...], shapes: tuple[Any, ...]) -> Any:
        with _disable_current_modes():
            made = super().__call__(name, work, given, shapes)
        self.graphs += 1
        tensors, sizes = tensors_of(given)[0], shapes_of(shapes)
        emptied = sum(x.shape != size for x, size in zip(tensors, sizes, strict=True) if not x.is_floating_point())
        self.copies += emptied + sum(len({x.dtype for x in part}) for part in (tensors, tensors_of(made)[0]))
        return made


class _Launches(TorchDispatchMode):
    """Counts operations that launch a kernel on a GPU: all that are not views or plain allocations."""

    _FREE = (
        "view",
        "permute",
        "transpose",
        "slice",
        "select",
        "split",
        "chunk",
        "expand",
        "unsqueeze",
        "squeeze",
        "unbind",
        "t.",
        "detach",
        "empty",
        "alias",
        "as_strided",
        "reshape",
        "_unsafe_view",
        "lift",
    )

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name = str(func).removeprefix("aten.")
        self.number += not name.startswith(self._FREE)
        return func(*args, **(kwargs or {}))


def _step() -> dict[str, float]:
    cost = replace(LLADA, prompt=1024).cost(1, 64)
    return {f"floor {board}, ms": round(cost.floor(*rates) * 1e3, 2) for board, rates in BOARDS.items()}
