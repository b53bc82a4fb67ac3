"""The GPU benchmark on the CPU: every part runs at toy sizes; its times mean nothing there."""

import dataclasses
import json

import pytest
import torch

from lohovla.benchmarks.bench_utils import markdown_table
from lohovla.benchmarks.gpu import gpu, gpu_models, gpu_text, roofline
from lohovla.benchmarks.gpu.pi0_shape import TOY, Pi0Shape, launches
from lohovla.errors import UserError
from lohovla.kernels.runtime import tables

CPU = torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_says_that_it_needs_a_gpu(tmp_path):
    with pytest.raises(UserError, match="needs a CUDA device"):
        gpu.run(tmp_path / "gpu.json")
    with pytest.raises(UserError, match="no part 'speed'"):
        gpu.run(tmp_path / "gpu.json", dry=True, parts=["speed"])


def test_every_part_runs_dry(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu_models, "nano", lambda where, rounds: [{"part": "chunk"}])  # tested in test_fast.py
    record = gpu.run(tmp_path / "gpu.json", dry=True)
    assert record["failed"] == []
    rows = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert list(rows) == list(gpu.PARTS)
    assert {row["kernel"] for row in rows["kernels"]} == set(gpu.KERNELS)
    assert all(row["floor ms"] > 0 for row in rows["kernels"])
    assert [row["part"] for row in rows["decision"]] == ["vision", "prefix", "chunk"]
    assert [row["batch"] for row in rows["d2f"]] == list(gpu_text.TOY.batches)
    assert all(row["tokens a step"] > 0 for row in rows["d2f"])
    assert rows["training"][0]["samples/s"] > 0
    assert rows["training"][0]["GFLOP a step"] > 0
    said = capsys.readouterr().out.splitlines()
    assert json.loads(said[-1])["metric"] == "decision of pi0's shape"


def test_a_part_that_fails_leaves_the_others(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("CUDA error: out of memory\nmore")

    monkeypatch.setitem(gpu._PART, "decision", fail)
    record = gpu.run(tmp_path / "gpu.json", dry=True, parts=["kernels", "decision"])
    assert record["failed"] == ["decision"]
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert parts["decision"] == [{"error": "RuntimeError: CUDA error: out of memory"}]
    assert len(parts["kernels"]) > 5


def test_correctness_finds_a_wrong_kernel(monkeypatch):
    assert all(row["right"] for row in gpu.correctness(CPU))
    good = gpu.KERNELS["quantised"]
    for call in (
        lambda x, w, s, b: good.call(x, w, s * 1.2, b),
        lambda x, w, s, b: good.call(x, w, s * torch.nan, b),
        lambda x, w, s, b: 1 / 0,
    ):
        monkeypatch.setitem(gpu.KERNELS, "quantised", dataclasses.replace(good, call=call))
        assert {row["kernel"] for row in gpu.correctness(CPU) if not row["right"]} == {"quantised"}


def test_tuning_takes_the_fastest(monkeypatch):
    found = {name: dict(how) for name, how in tables()["default"].items()}
    monkeypatch.setitem(tables(), "default", found)

    def took(call, where, rounds):  # as if 16 rows of a tile were best, and the reference better still for one kernel
        name = next(name for name in gpu.KERNELS if gpu.KERNELS[name].call is call.func)
        if call.keywords["implementation"] == "reference":
            return 0.5 if name == "confidence" else 99.0
        return 1 + found[{"gated_mlp": "gate_up"}.get(name, name)]["BM"]

    monkeypatch.setattr(gpu, "timed", took)
    best = gpu.tuned(CPU, which="small")
    assert {name for name, how in best.items() if how["BM"] != 16} <= {"down", "down.few", "gate_up.few"}
    assert {name for name, how in best.items() if how.get("reference")} == {"confidence"}


def test_candidates_change_one_kind():
    tried = gpu.candidates({"BM": 64, "num_warps": 4}, "BM")
    assert [one["BM"] for one in tried] == [16, 32, 128]
    assert all(one["num_warps"] == 4 for one in tried)


def test_tables_have_all_fields():
    assert markdown_table([]) == "nothing was measured"
    assert markdown_table([{"a": 1.0}, {"b": 1234.5}]).splitlines() == [
        "| a | b |",
        "| --- | --- |",
        "| 1 |  |",
        "|  | 1234 |",
    ]


def test_counts_of_pi0_agree_with_its_floor():
    launched = launches(Pi0Shape())
    with torch.device("meta"):
        floors = roofline.Pi0(Pi0Shape()).floor_counts()
    for part in floors:
        operations = sum(n * cost.operations for n, cost in launched[part])
        assert operations == pytest.approx(floors[part][1], rel=0.06)
        assert sum(n * cost.bytes for n, cost in launched[part]) > floors[part][0] * 0.98
    assert roofline.predicted(roofline.Cost(1.0, 1.0), "H100") == roofline.LAUNCH
    assert launches(TOY).keys() == launched.keys()


def test_counts_are_printed(capsys):
    record = roofline.run()
    assert record["decision"][-1]["floor H200, ms"] < record["decision"][-1]["predicted H200, ms"]
    assert "| paged_attention | heads=28" in capsys.readouterr().out
    assert 0 < record["nano"][2]["launches"] < record["nano"][0]["launches"]
    eager, passes, whole = record["host"]
    assert eager["graphs"] == 0 < whole["graphs"] == 1 < passes["graphs"]
    assert whole["beside them"] < passes["beside them"] < eager["beside them"]
