"""The pi0-shaped decision on the kernels says what the plain one says."""

import pytest
import torch

from lohovla.benchmarks.gpu.pi0 import Pi0
from lohovla.benchmarks.gpu.pi0_shape import TOY, Pi0Shape


@pytest.fixture(scope="module")
def model():
    return Pi0(TOY).eval().prepare()


@torch.inference_mode()
def test_fused_equals_plain(model):
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randn(TOY.views, 3, 28, 28, generator=generator)
    tokens = model.look(pictures, torch.randn(TOY.words, TOY.width, generator=generator))
    assert tokens.shape == (TOY.prefix, TOY.width)
    plain, fused = model.read(tokens, False), model.read(tokens, True)
    for one, other in zip(plain, fused, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)
    state = torch.randn(1, TOY.expert_width, generator=generator)
    noise = torch.randn(TOY.chunk, TOY.actions, generator=generator)
    torch.testing.assert_close(
        model.act(plain, state, noise, False), model.act(fused, state, noise, True), atol=5e-5, rtol=1e-4
    )


def test_counts_are_of_pi0s_size():
    with torch.device("meta"):
        counts = Pi0(Pi0Shape()).floor_counts()
    assert Pi0Shape().prefix == 560
    assert counts["vision"][0] / 2 == pytest.approx(412e6, rel=0.02)  # SigLIP So400m without its pooling head
    assert counts["prefix"][0] / 2 == pytest.approx(1.98e9 * 17 / 18, rel=0.03)  # Gemma 2B without embeddings
    assert counts["chunk"][0] / 20 == pytest.approx(0.31e9, rel=0.1)
