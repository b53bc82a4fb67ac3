"""Kernels in Triton's interpreter against their references in float64, on fresh random inputs."""

import secrets

import pytest
import torch

from lohovla.errors import UserError
from lohovla.kernels import lm_head_argmax, paged_attention, qkv, runtime, weight_only_linear
from lohovla.kernels.registry import KERNELS, as_double
from lohovla.kernels.runtime import block_config, block_sizes, tables, use_triton

pytest.importorskip("triton")

# Largest error beside a result of size about one: of sums in float32, and of results rounded to bfloat16.
BOUND = {torch.float32: 2e-5, torch.bfloat16: 3e-2}
CASES = [(name, number) for name, kernel in KERNELS.items() for number in range(len(kernel.small))]


def fresh(name, number, dtype):
    seed = secrets.randbits(32)
    print("seed", seed)  # shown if the test fails
    kernel = KERNELS[name]
    return kernel, kernel.inputs(kernel.small[number], dtype, torch.Generator().manual_seed(seed))


def both(kernel, inputs, implementation):
    got = kernel.call(*inputs, implementation=implementation)
    want = kernel.module.reference(*as_double(inputs))
    return (got, want) if isinstance(got, tuple) else ((got,), (want,))


@pytest.mark.parametrize("dtype", BOUND, ids=str)
@pytest.mark.parametrize(("name", "number"), CASES)
@pytest.mark.parametrize("implementation", ["triton", "reference"])
def test_agrees_with_float64(name, number, dtype, implementation):
    kernel, inputs = fresh(name, number, dtype)
    got, want = both(kernel, inputs, implementation)
    for ours, exact in zip(got, want, strict=True):
        assert ours.shape == exact.shape
        if exact.dtype == torch.int64:  # words: where two are about equal, rounding may choose
            logits = inputs[0][inputs[1].long()].double() @ inputs[2].double().t()
            best, taken = (logits.gather(1, word[:, None]) for word in (exact, ours))
            assert ((best - taken) <= BOUND[dtype] * (1 + best.abs())).all()
        else:
            assert ((ours.double() - exact).abs() <= BOUND[dtype] * (1 + exact.abs())).all()


def test_confidence_leaves_suppressed_words_out_and_takes_the_first_of_equal_ones():
    hidden = torch.zeros(2, 8)
    head = torch.zeros(100, 8)
    word, chance = lm_head_argmax.lm_head_argmax(hidden, torch.tensor([1], dtype=torch.int32), head, 0, "triton")
    assert word.tolist() == [1]
    assert chance.item() == pytest.approx(1 / 99)
    assert lm_head_argmax.lm_head_argmax(hidden, torch.zeros(0, dtype=torch.int32), head, 0, "triton")[0].shape == (0,)


def test_pages_of_other_requests_are_not_seen():
    sizes = {"windows": [3, 3], "lengths": [5, 6], "heads": 2, "kv": 1, "head": 16, "page": 4, "block": 2}
    inputs = list(KERNELS["paged_attention"].inputs(sizes, torch.float32, torch.Generator().manual_seed(0)))
    before = paged_attention.paged_attention(*inputs, implementation="triton")
    pages = tuple(page.clone() for page in inputs[5])
    for page in pages:
        page[inputs[6][1].long()] = torch.nan  # the other request's
        page[inputs[6][0, 1].long(), 1:] = torch.nan  # the end of a page that is not full
    inputs[5] = pages
    after = paged_attention.paged_attention(*inputs, implementation="triton")
    assert torch.equal(before[:3], after[:3])
    assert after[3:].isnan().all()


def test_later_blocks_are_not_seen():
    sizes = {"windows": [6], "lengths": [3], "heads": 1, "kv": 1, "head": 16, "page": 4, "block": 2}
    inputs = list(KERNELS["paged_attention"].inputs(sizes, torch.float32, torch.Generator().manual_seed(0)))
    before = paged_attention.paged_attention(*inputs, implementation="triton")
    inputs[2] = torch.cat([inputs[2][:4], inputs[2][4:] + 1])
    after = paged_attention.paged_attention(*inputs, implementation="triton")
    assert torch.equal(before[:4], after[:4])
    assert not torch.equal(before[4:], after[4:])


def test_folded_gain_is_the_norms():
    x, gain, weight = torch.randn(5, 12), torch.rand(12), torch.randn(24, 12)
    cos, sin = torch.ones(5, 4), torch.zeros(5, 4)
    folded = qkv.qkv(x, qkv.fold(gain, weight), cos, sin, 2, 1e-6)
    assert torch.allclose(folded, torch.nn.functional.rms_norm(x, (12,), gain, 1e-6) @ weight.t(), atol=1e-5)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.int8, 0.5 / 127), (torch.float8_e4m3fn, 2**-4)])
def test_quantised_weights_are_near(dtype, bound):
    weight = torch.randn(7, 33)
    eighth, scale = weight_only_linear.quantise(weight, dtype)
    assert ((eighth.float() * scale[:, None] - weight).abs() <= bound * 1.01 * weight.abs().amax(1, keepdim=True)).all()


def test_counts_are_those_of_the_shapes():
    kernel = KERNELS["quantised"]
    inputs = kernel.inputs({"rows": 2, "width": 16, "out": 8}, torch.bfloat16, torch.Generator())
    count = kernel.module.cost(*inputs)
    assert count.operations == 2 * 2 * 16 * 8
    assert count.bytes == 2 * 16 * 2 + 16 * 8 + 8 * 4 + 8 * 2 + 2 * 8 * 2
    assert count.floor(1e3, 1e9) == pytest.approx(count.bytes / 1e3)
    attention = KERNELS["paged_attention"]
    sizes = {"windows": [4], "lengths": [3], "heads": 2, "kv": 1, "head": 8, "page": 4, "block": 2}
    count = attention.module.cost(*attention.inputs(sizes, torch.bfloat16, torch.Generator()))
    assert count.operations == 4 * (4 * 3 + 2 * 2 + 2 * 4) * 2 * 8


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_saves_bytes(name):
    kernel = KERNELS[name]
    for sizes in kernel.small[1:]:
        assert kernel.module.saved(*kernel.inputs(sizes, torch.bfloat16, torch.Generator())) > 0


def test_choice_and_tables():
    assert not use_triton(torch.zeros(1), "auto")
    with pytest.raises(UserError, match="no implementation 'cuda'"):
        use_triton(torch.zeros(1), "cuda")
    assert {name.partition(".")[0] for name in tables()["sm_90"]} == {
        name.partition(".")[0] for name in tables()["default"]
    }
    fused = {"enable_fp_fusion": True}
    assert block_sizes("qkv", "cpu") == {**tables()["default"]["qkv"], **fused}
    assert block_sizes("qkv", "sm_90") == block_sizes("qkv", "sm_90", 65) == {**tables()["sm_90"]["qkv"], **fused}
    assert block_sizes("qkv", "sm_90", 64) == {**tables()["sm_90"]["qkv.few"], **fused}


def test_where_the_reference_was_faster_it_runs(monkeypatch):
    monkeypatch.setattr(runtime, "use_triton", lambda like, implementation: implementation != "reference")
    monkeypatch.setitem(tables()["default"], "down", {"BM": 32, "num_stages": 3, "reference": True})
    x = torch.zeros(1, dtype=torch.bfloat16)
    assert block_config("down", x, "auto", 100) is None
    fused = {"enable_fp_fusion": True}
    assert block_config("down", x, "triton", 100) == {"BM": 32, "num_stages": 3, **fused}
    assert block_config("down", x.float(), "triton", 100) == {"BM": 16, "num_stages": 2, **fused}
    assert block_config("down", x, "auto", 3) == {**tables()["default"]["down.few"], **fused}
    assert block_config("qkv", x, "reference") is None
