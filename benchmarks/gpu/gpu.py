"""Everything there is to measure on a GPU: kernels right and fast, decisions part by part, D2F steps, training.

Each time stands beside eager PyTorch, ``torch.compile`` and its floor: bytes and operations of the count, at the
bandwidth and the matrix rate measured in the same run. A part that fails leaves its error and the others' figures.
"""

from __future__ import annotations

import itertools
import json
import secrets
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lohovla.benchmarks.bench_utils import Row, compiled, device_name, emit, graphed, markdown_table, timed
from lohovla.benchmarks.gpu import gpu_models, gpu_text
from lohovla.benchmarks.gpu.pi0_shape import TOY, Pi0Shape
from lohovla.benchmarks.gpu.roofline import sizes_text
from lohovla.errors import UserError
from lohovla.kernels.registry import KERNELS, as_double
from lohovla.kernels.runtime import tables

PARTS = ("correctness", "kernels", "decision", "nano", "d2f", "training")
BUDGET = 450.0  # s, after which no other part begins
_BOUND = {torch.float32: 1e-4, torch.bfloat16: 4e-2}


def run(file: Path, tune: bool = False, dry: bool = False, parts: Sequence[str] = PARTS) -> dict[str, Any]:
    """Measure, print a table for each part and all of them at the end, and return the record.

    Args:
        file: where the figures go as JSON, after each part.
        tune: only search block sizes, and print the table for ``kernels/tuned.json``.
        dry: go through every part on the CPU at toy sizes; the times mean nothing.
        parts: some of :data:`PARTS`.

    Raises:
        UserError: there is no CUDA device, no such part, or a kernel is wrong.
    """
    if unknown := sorted(set(parts) - set(PARTS)):
        raise UserError(f"there is no part {unknown[0]!r}", f"choose one of {', '.join(PARTS)}")
    if not dry and not torch.cuda.is_available():
        raise UserError(
            "this benchmark needs a CUDA device", "run it on a machine with an NVIDIA GPU, or with dry=true"
        )
    where = torch.device("cpu" if dry else "cuda")
    name = device_name() if dry else torch.cuda.get_device_name()
    if tune:
        blocks = tuned(where, which="small" if dry else "serving")
        print(json.dumps(blocks))
        return emit("gpu", "tuned kernels", len(blocks), "kernels", gpu=name, table=blocks)
    began = time.monotonic()
    bandwidth, rate = ceilings(where, 64 if dry else 8192)
    record: dict[str, Any] = {"gpu": name, "torch": torch.__version__, "bandwidth": bandwidth, "rate": rate}
    print(f"{name}: {bandwidth / 1e12:.2f} TB/s, {rate / 1e12:.0f} TFLOP/s in bfloat16, measured")
    found: dict[str, list[Row]] = {}
    for part in [part for part in PARTS if part in parts]:
        at = time.monotonic()
        if at - began > BUDGET:
            found[part] = [{"error": f"not begun: {BUDGET:.0f} s were over"}]
        else:
            found[part] = _attempt(partial(_PART[part], where, bandwidth, rate, dry))
        print(f"\n{part} ({time.monotonic() - at:.0f} s)\n{markdown_table(found[part])}", flush=True)
        file.write_text(json.dumps({**record, "parts": found}, indent=2, default=str), encoding="utf-8")
        if where.type == "cuda":
            torch.cuda.empty_cache()
    record["seconds"] = time.monotonic() - began
    return _closing(record, found)


def _attempt(part: Callable[[], list[Row]]) -> list[Row]:
    try:
        return part()
    except Exception as error:  # whatever it is, the other parts' figures are worth having
        traceback.print_exc()
        return [{"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]}]


def _closing(record: dict[str, Any], parts: dict[str, list[Row]]) -> dict[str, Any]:
    print("\n" + "\n\n".join(f"{part}\n{markdown_table(rows)}" for part, rows in parts.items()))
    failed = [part for part, rows in parts.items() if any("error" in row for row in rows)]
    wrong = [row for row in parts.get("correctness", ()) if not row.get("right", True)]
    decided = parts.get("decision", [])
    sums = {c: sum(row.get(f"{c} ms", 0.0) for row in decided) for c in ("eager", "compiled", "fused", "floor")}
    emit(
        "gpu",
        "decision of pi0's shape",
        sums["fused"],
        "ms",
        baseline=sums["eager"],
        compiled=sums["compiled"],
        ratio=sums["eager"] / sums["fused"] if sums["fused"] else None,
        floor=sums["floor"],
        failed=failed,
        wrong=wrong,
        parts=parts,
        **record,
    )
    if wrong:
        raise UserError(f"wrong on this GPU: {wrong[0]}", "report it with this line; the seed repeats it")
    return {**record, "failed": failed, "parts": parts, **sums}


def correctness(where: torch.device, *_: Any, which: tuple[str, ...] = ("small",)) -> list[Row]:
    """Every kernel against its reference in float64, on fresh random inputs; a kernel that does not run is wrong."""
    rows = []
    for name, kernel in KERNELS.items():
        cases = [sizes for group in which for sizes in getattr(kernel, group)]
        for sizes, (dtype, bound) in itertools.product(cases, _BOUND.items()):
            seed = secrets.randbits(32)
            row: Row = {"kernel": name, "sizes": sizes_text(sizes), "dtype": str(dtype), "seed": seed}
            try:
                row["error of"] = _error(kernel, kernel.inputs(sizes, dtype, torch.Generator(where).manual_seed(seed)))
                row["right"] = row["error of"] <= bound
            except Exception as error:  # Triton's errors have no common class
                row |= {"error of": str(error).splitlines()[0][:200] if str(error) else type(error).__name__}
                row["right"] = False
            rows.append(row)
    return rows


def _error(kernel: Any, inputs: tuple) -> float:
    """The largest one beside results of size about one; not a number is infinitely wrong."""
    got, want = kernel.call(*inputs), kernel.module.reference(*as_double(inputs))
    got, want = (value if isinstance(value, tuple) else (value,) for value in (got, want))
    errors = [
        ((one.double() - other).abs() / (1 + other.abs())).max()
        for one, other in zip(got, want, strict=True)
        if other.is_floating_point()  # words may differ where two are equally likely: chances are compared
    ]
    return float(torch.stack(errors).nan_to_num(float("inf")).max())


def ceilings(where: torch.device, n: int = 8192) -> tuple[float, float]:
    """Bytes a second of a copy, and operations a second of a bfloat16 product of ``n`` squared, here and now."""
    a, b = (torch.randn(n, n, device=where, dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(a)
    rate = 2.0 * n**3 / (timed(lambda: torch.mm(a, b, out=out), where) * 1e-3)
    source = torch.empty(n * n * 16, dtype=torch.uint8, device=where)
    target = torch.empty_like(source)
    bandwidth = 2.0 * source.numel() / (timed(lambda: target.copy_(source), where) * 1e-3)
    return bandwidth, rate


def kernels(where: torch.device, bandwidth: float, rate: float, which: str = "serving") -> list[Row]:
    """Each kernel beside its reference, eager and compiled, and its floor."""
    rows = []
    for name, kernel in KERNELS.items():
        for sizes in getattr(kernel, which):
            inputs = kernel.inputs(sizes, torch.bfloat16, torch.Generator(where).manual_seed(0))
            row: Row = {"kernel": name, "sizes": sizes_text(sizes)}
            try:
                row |= _beside(name, kernel, inputs, sizes, where, bandwidth, rate)
            except Exception as error:  # one that does not run must not hide the others
                row["error"] = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            rows.append(row)
    return rows


def _beside(
    name: str, kernel: Any, inputs: tuple, sizes: dict[str, Any], where: torch.device, bandwidth: float, rate: float
) -> Row:
    """All inside CUDA graphs, as they are served; the paged reference walks through requests, and cannot be one."""
    paged, reference = name == "paged_attention", kernel.module.reference
    more = {"longest": max(sizes["windows"])} if paged else {}
    # Made to run even where the table says that the reference is faster: that is what is measured.
    ours = partial(kernel.call, *inputs, implementation="triton" if where.type == "cuda" else "auto", **more)
    plain = partial(reference, *inputs)
    eager = timed(plain if paged else graphed(plain, where), where)
    better = eager if paged else timed(graphed(partial(compiled(reference, where), *inputs), where), where)
    spent = timed(graphed(ours, where), where)
    floor = kernel.module.cost(*inputs).floor(bandwidth, rate) * 1e3
    return {
        "ours ms": spent,
        "eager ms": eager,
        "compiled ms": better,
        "floor ms": floor,
        "of floor": floor / spent,
        "keeps": spent <= min(eager, better),
    }


def tuned(where: torch.device, rounds: int = 10, which: str = "serving") -> dict[str, dict[str, int]]:
    """The fastest block sizes of each entry of the table, and whether the reference was faster still.

    From the present sizes one kind at a time is changed, twice over: a full search would compile for hours.
    """
    known = tables()
    major, minor = torch.cuda.get_device_capability() if where.type == "cuda" else (0, 0)
    current = known.setdefault(f"sm_{major}{minor}" if major else "default", {})
    for entry, how in known["sm_90" if major == 9 else "default"].items():
        current.setdefault(entry, dict(how))
    return {entry: _tuned_entry(entry, current, where, rounds, which) for entry in list(current)}


def _tuned_entry(
    entry: str, current: dict[str, dict[str, int]], where: torch.device, rounds: int, which: str
) -> dict[str, int]:
    base, _, few = entry.partition(".")
    kernel = KERNELS["gated_mlp" if base in ("gate_up", "down") else base]
    sizes = [s for s in getattr(kernel, which) if f"{base}.few" not in current or _is_few(s) == bool(few)]
    inputs = [kernel.inputs(s, torch.bfloat16, torch.Generator(where).manual_seed(0)) for s in sizes]

    def spent(how: dict[str, int], implementation: str) -> float:
        current[entry] = how
        try:
            return sum(
                timed(partial(kernel.call, *one, implementation=implementation), where, rounds) for one in inputs
            )
        except Exception:  # these sizes do not fit this device: Triton's errors have no common class
            return float("inf")

    force = "triton" if where.type == "cuda" else "auto"
    best = {name: value for name, value in current[entry].items() if name != "reference"}
    least, tried = spent(best, force), {tuple(best.items())}
    for kind in 2 * list(best):
        for how in candidates(best, kind):
            if tuple(how.items()) not in tried:
                tried.add(tuple(how.items()))
                if (found := spent(how, force)) < least:
                    best, least = how, found
    if base not in ("gate_up", "down") and spent(best, "reference") < least:  # those two share a reference
        best = {**best, "reference": True}
    current[entry] = best
    return best


def _is_few(sizes: dict[str, Any]) -> bool:
    return sizes.get("asked", sizes.get("rows", 0)) <= 64


def candidates(start: dict[str, int], kind: str) -> list[dict[str, int]]:
    """Block sizes to try: the present ones with another value of one kind."""
    choices = {
        "BM": (16, 32, 64, 128),
        "BN": (16, 32, 64, 128, 256),
        "BH": (16, 32, 64, 128),
        "BK": (32, 64, 128),
        "num_warps": (4, 8),
        "num_stages": (2, 3, 4),
    }
    return [{**start, kind: value} for value in choices[kind] if value != start[kind]]


def _correctness(where: torch.device, bandwidth: float, rate: float, dry: bool) -> list[Row]:
    return correctness(where, which=("small",) if dry else ("small", "serving"))


def _kernels(where: torch.device, bandwidth: float, rate: float, dry: bool) -> list[Row]:
    return kernels(where, bandwidth, rate, "small" if dry else "serving")


def _decision(where: torch.device, bandwidth: float, rate: float, dry: bool) -> list[Row]:
    return gpu_models.decision(where, TOY if dry else Pi0Shape(), bandwidth, rate, 2 if dry else 20)


def _nano(where: torch.device, bandwidth: float, rate: float, dry: bool) -> list[Row]:
    return gpu_models.nano(where, 1 if dry else 20)


def _d2f(where: torch.device, bandwidth: float, rate: float, dry: bool) -> list[Row]:
    return gpu_text.steps(where, gpu_text.TOY if dry else gpu_text.LLADA, bandwidth, rate)


def _training(where: torch.device, bandwidth: float, rate: float, dry: bool) -> list[Row]:
    return gpu_models.training(where, rate, ("symbolic",) if dry else None, 2 if dry else 4, 1 if dry else 10)


_PART = {
    "correctness": _correctness,
    "kernels": _kernels,
    "decision": _decision,
    "nano": _nano,
    "d2f": _d2f,
    "training": _training,
}
