"""The GPU benchmark's logic at toy size on CPU; its times mean nothing there."""

import dataclasses

import pytest
import torch

from lohovla.benchmarks import gpu
from lohovla.benchmarks.pi0 import TOY
from lohovla.errors import UserError

CPU = torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_says_that_it_needs_a_gpu():
    with pytest.raises(UserError, match="needs a CUDA device"):
        gpu.run(False)


def test_correctness_finds_a_wrong_kernel(monkeypatch):
    assert all(row["right"] for row in gpu.correctness(CPU))
    good = gpu.KERNELS["quantised"]
    broken = dataclasses.replace(good, call=lambda x, w, s, b: good.call(x, w, s * 1.2, b))
    monkeypatch.setitem(gpu.KERNELS, "quantised", broken)
    assert {row["kernel"] for row in gpu.correctness(CPU) if not row["right"]} == {"quantised"}


def test_tables_of_all_parts():
    bandwidth, rate = gpu.ceilings(CPU, 64)
    assert bandwidth > 0
    assert rate > 0
    rows = gpu.kernels(CPU, bandwidth, rate, "small")
    assert {row["kernel"] for row in rows} == set(gpu.KERNELS)
    assert all(row["floor ms"] > 0 for row in rows)
    rows = gpu.decision(CPU, TOY, bandwidth, rate, rounds=2)
    assert [row["part"] for row in rows] == ["vision", "prefix", "chunk"]
    printed = gpu.table(rows).splitlines()
    assert printed[0] == "| part | eager ms | compiled ms | fused ms | floor ms |"
    assert len(printed) == 5
    assert gpu.training(CPU, 2, 8, 1)[0]["tokens/s"] > 0
    assert gpu.table([]) == "nothing was measured"


def test_candidates_keep_the_kinds():
    tried = gpu.candidates({"BM": 64, "num_warps": 4})
    assert len(tried) == 8
    assert all(set(one) == {"BM", "num_warps"} for one in tried)
