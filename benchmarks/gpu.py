"""Everything there is to measure on a GPU: kernels right and fast, a decision part by part, D2F steps, training.

Each time stands beside eager PyTorch, ``torch.compile`` and its floor: bytes and operations of the count, at the
bandwidth and the matrix rate measured in the same run.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lohovla.benchmarks.pi0 import Pi0, Shape
from lohovla.benchmarks.report import emit, median
from lohovla.errors import UserError
from lohovla.kernels.registry import KERNELS, as_double
from lohovla.kernels.runtime import tables

_BOUND = {torch.float32: 1e-4, torch.bfloat16: 4e-2}
Row = dict[str, Any]


def run(tune: bool) -> dict[str, Any]:
    """Measure all, print tables, and return the record.

    Raises:
        UserError: there is no CUDA device, or a kernel is wrong.
    """
    if not torch.cuda.is_available():
        raise UserError("this benchmark needs a CUDA device", "run it on a machine with an NVIDIA GPU")
    device = torch.device("cuda")
    if tune:
        found = tuned(device)
        return emit("gpu", "tuned kernels", len(found), "kernels", gpu=torch.cuda.get_device_name(), table=found)
    wrong = [row for row in correctness(device, ("small", "serving")) if not row["right"]]
    if wrong:
        raise UserError(f"wrong on this GPU: {wrong[0]}", "report it with this line; the seed repeats it")
    bandwidth, rate = ceilings(device)
    parts: dict[str, list[Row]] = {
        "kernels": kernels(device, bandwidth, rate),
        "decision": decision(device, Shape(), bandwidth, rate),
        "nano": nano(device),
        "training": training(device),
    }
    for name, rows in parts.items():
        print(f"\n{name}\n{table(rows)}")
    fused = sum(row["fused ms"] for row in parts["decision"])
    eager = sum(row["eager ms"] for row in parts["decision"])
    floor = sum(row["floor ms"] for row in parts["decision"])
    return emit(
        "gpu", "decision of pi0's shape", fused, "ms", baseline=eager, ratio=eager / fused, floor=floor, parts=parts,
        bandwidth=bandwidth, rate=rate, gpu=torch.cuda.get_device_name(), torch=torch.__version__,
    )  # fmt: skip


def table(rows: list[Row]) -> str:
    """A Markdown table of rows with the same fields."""
    if not rows:
        return "nothing was measured"
    cells = [[f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in [list(rows[0]), ["---"] * len(rows[0]), *cells])


def timed(call: Callable[[], Any], device: torch.device, rounds: int = 20) -> float:
    """Milliseconds of a call, the median; on CUDA between events, the level-two cache written over before each."""
    call()
    if device.type != "cuda":
        times = []
        for _ in range(rounds):
            began = time.perf_counter()
            call()
            times.append((time.perf_counter() - began) * 1e3)
        return median(times)
    other = torch.empty(256 << 20, dtype=torch.uint8, device=device)
    marks = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(rounds)]
    for began, ended in marks:
        other.zero_()
        began.record()
        call()
        ended.record()
    torch.cuda.synchronize()
    return median([began.elapsed_time(ended) for began, ended in marks])


def graphed(call: Callable[[], Any], device: torch.device) -> Callable[[], Any]:
    """The call as one CUDA graph over the tensors that it now reads; elsewhere the call itself."""
    if device.type != "cuda":
        return call
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def correctness(device: torch.device, which: tuple[str, ...] = ("small",)) -> list[Row]:
    """Every kernel against its reference in float64, on fresh random inputs."""
    rows = []
    for name, kernel in KERNELS.items():
        cases = [sizes for group in which for sizes in getattr(kernel, group)]
        for sizes, (dtype, bound) in itertools.product(cases, _BOUND.items()):
            seed = secrets.randbits(32)
            inputs = kernel.inputs(sizes, dtype, torch.Generator(device).manual_seed(seed))
            got, want = kernel.call(*inputs), kernel.module.reference(*as_double(inputs))
            got, want = (value if isinstance(value, tuple) else (value,) for value in (got, want))
            error = max(
                float(((one.double() - other).abs() / (1 + other.abs())).max())
                for one, other in zip(got, want, strict=True)
                if other.is_floating_point()  # words may differ where two are equally likely: chances are compared
            )
            rows.append(
                {
                    "kernel": name,
                    "sizes": sizes,
                    "dtype": str(dtype),
                    "seed": seed,
                    "error": error,
                    "right": error <= bound,
                }
            )
    return rows


def ceilings(device: torch.device, n: int = 8192) -> tuple[float, float]:
    """Bytes a second of a copy, and operations a second of a bfloat16 product of ``n`` squared, here and now."""
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(a)
    rate = 2.0 * n**3 / (timed(lambda: torch.mm(a, b, out=out), device) * 1e-3)
    source = torch.empty(n * n * 16, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    bandwidth = 2.0 * source.numel() / (timed(lambda: target.copy_(source), device) * 1e-3)
    return bandwidth, rate


def kernels(device: torch.device, bandwidth: float, rate: float, which: str = "serving") -> list[Row]:
    """Each kernel beside its reference, eager and compiled, and its floor."""
    rows = []
    for name, kernel in KERNELS.items():
        for sizes in getattr(kernel, which):
            inputs = kernel.inputs(sizes, torch.bfloat16, torch.Generator(device).manual_seed(0))
            reference = kernel.module.reference
            # The paged reference walks through requests in Python: its compiled form would be a graph for each length.
            compiled = reference if name == "paged_attention" else _compiled(reference, device)
            ours = timed(_call(kernel.call, inputs), device)
            eager, better = (timed(_call(one, inputs), device) for one in (reference, compiled))
            floor = kernel.module.cost(*inputs).floor(bandwidth, rate) * 1e3
            rows.append(
                {
                    "kernel": name, "sizes": " ".join(f"{k}={v}" for k, v in sizes.items() if not isinstance(v, list)),
                    "ours ms": ours, "eager ms": eager, "compiled ms": better, "floor ms": floor,
                    "of floor": floor / ours, "keeps": ours <= min(eager, better),
                }
            )  # fmt: skip
    return rows


def _call(function: Callable[..., Any], inputs: tuple) -> Callable[[], Any]:
    return lambda: function(*inputs)


def _compiled(function: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    return torch.compile(function, dynamic=False) if device.type == "cuda" else function


@torch.inference_mode()
def decision(device: torch.device, shape: Shape, bandwidth: float, rate: float, rounds: int = 20) -> list[Row]:
    """A decision of pi0's shape, part by part: eager, compiled, and fused in CUDA graphs."""
    with device:
        model = Pi0(shape).to(torch.bfloat16).eval().prepare()
    edge = shape.vision["image_size"]

    def drawn(*size: int) -> Tensor:
        return torch.randn(size, device=device, dtype=torch.bfloat16)

    pictures, words, state = (
        drawn(shape.views, 3, edge, edge),
        drawn(shape.words, shape.width),
        drawn(1, shape.expert_width),
    )
    noise = drawn(shape.chunk, shape.actions).float()
    tokens = model.look(pictures, words)
    cache = model.read(tokens, False)
    parts: dict[str, Callable[[bool], Any]] = {
        "vision": lambda fused: model.look(pictures, words),
        "prefix": lambda fused: model.read(tokens, fused),
        "chunk": lambda fused: model.act(cache, state, noise, fused),
    }
    rows = []
    for name, (moved, operations) in model.floor_counts().items():
        part = parts[name]
        compiled = _compiled(part, device)
        fused = graphed(lambda part=part: part(True), device)
        rows.append(
            {
                "part": name,
                "eager ms": timed(lambda part=part: part(False), device, rounds),
                "compiled ms": timed(lambda compiled=compiled: compiled(False), device, rounds),
                "fused ms": timed(fused, device, rounds),
                "floor ms": max(moved / bandwidth, operations / rate) * 1e3,
            }
        )
    return rows


@torch.inference_mode()
def nano(device: torch.device, rounds: int = 20) -> list[Row]:
    """The shipped model's chunk of 10 and of 2 steps by backend; the eager one reads the cache that it denoises on."""
    from lohovla.benchmarks.model import _observation
    from lohovla.model import acting, planning
    from lohovla.model.acting import Attended
    from lohovla.model.checkpoint import load
    from lohovla.model.fast import Chunks

    model, processor = load(None, str(device))
    inputs = processor([_observation("put-block-into-matching-bowl")]).to(device)
    prefix = model.encode(inputs)
    words = planning.plan_ar(model, prefix, processor.start, processor.end, None)
    attended = Attended.of(planning.point(model, prefix, words))
    motion = torch.zeros(1, 4, device=device)
    noise = acting.noise_for(model, "ee", [torch.Generator().manual_seed(0)])
    rows = []
    for steps in (10, 2):
        row: Row = {"chunk steps": steps}
        for backend in ("eager", "compile", "fused"):
            chunks = Chunks(model, backend)
            call = lambda chunks=chunks, steps=steps: chunks.ee(attended, inputs.state, motion, steps, noise)  # noqa: E731
            row[f"{backend} ms"] = timed(call, device, rounds)
        rows.append(row)
    return rows


def training(device: torch.device, batch: int = 64, length: int = 128, rounds: int = 10) -> list[Row]:
    """Tokens a second of the nano decoder's training step: forward, backward, AdamW."""
    from lohovla.model.configuration import LoHoVLAConfig
    from lohovla.model.core import LoHoVLA

    model = LoHoVLA(LoHoVLAConfig()).to(device)  # type: ignore[arg-type]
    decoder, optimizer = model.decoder, torch.optim.AdamW(model.decoder.parameters(), 1e-4, fused=device.type == "cuda")
    tokens = torch.randint(512, (batch, length), device=device)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            logits = model.vocabulary_logits(decoder(input_ids=tokens).last_hidden_state)
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    spent = timed(step, device, rounds)
    return [
        {
            "step": "nano decoder",
            "batch": batch,
            "tokens": length,
            "ms": spent,
            "tokens/s": batch * length / spent * 1e3,
        }
    ]


def tuned(device: torch.device, rounds: int = 10) -> dict[str, dict[str, int]]:
    """The fastest block sizes of each kernel at its serving sizes; the table for ``kernels/tuned.json``."""
    major, minor = torch.cuda.get_device_capability(device)
    known = tables()
    current = known.setdefault(f"sm_{major}{minor}", {k: dict(v) for k, v in known["default"].items()})
    found: dict[str, dict[str, int]] = {}
    for entry in list(current):
        kernel = KERNELS["gated_mlp" if entry in ("gate_up", "down") else entry]
        inputs = [kernel.inputs(s, torch.bfloat16, torch.Generator(device).manual_seed(0)) for s in kernel.serving]
        best, start = float("inf"), dict(current[entry])
        for how in candidates(start):
            current[entry] = how
            try:
                spent = sum(timed(_call(kernel.call, one), device, rounds) for one in inputs)
            except Exception:  # these sizes do not fit this device: Triton's errors have no common class
                continue
            if spent < best:
                best, found[entry] = spent, how
        current[entry] = found.get(entry, start)
    return found


def candidates(start: dict[str, int]) -> list[dict[str, int]]:
    """Block sizes to try, all combinations of the present ones' kinds."""
    choices = {
        "BM": (16, 32, 64, 128),
        "BN": (32, 64, 128),
        "BK": (32, 64),
        "num_warps": (4, 8),
        "num_stages": (2, 3, 4),
    }
    names = list(start)
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*(choices[name] for name in names))]
