"""Guided denoising against fields whose answer is known."""

import math

import numpy as np
import pytest
import torch

from lohovla.control.chunks.real_time_chunking import denoise_guided, guidance_weight, soft_mask
from lohovla.policies.gaussian_flow import GaussianFlow

H = 16


def test_the_soft_mask_is_the_published_one():
    mask = soft_mask(8, 2, 6)
    c = [(6 - i) / (6 - 2 + 1) for i in range(2, 6)]
    expected = [1, 1, *[x * (math.e**x - 1) / (math.e - 1) for x in c], 0, 0]
    np.testing.assert_allclose(mask, expected, rtol=1e-12)
    assert (np.diff(mask) <= 0).all()


@pytest.mark.parametrize(("frozen", "overlap"), [(0, 0), (0, 8), (8, 8), (3, 4)])
def test_the_mask_is_one_where_frozen_and_zero_past_the_old_chunk(frozen, overlap):
    mask = soft_mask(8, frozen, overlap)
    assert (mask[:frozen] == 1).all()
    assert (mask[overlap:] == 0).all()
    assert (mask[frozen:overlap] < 1).all()
    assert (mask[frozen:overlap] > 0).all()


def test_the_weight_is_the_published_one():
    for tau in (0.1, 0.4, 0.9):
        squared = (1 - tau) ** 2 / (tau**2 + (1 - tau) ** 2)
        assert guidance_weight(1 - tau, 1e9) == pytest.approx((1 - tau) / (tau * squared))
    assert guidance_weight(1.0, 5.0) == guidance_weight(0.01, 5.0) == 5.0


def test_without_a_prefix_chunks_have_the_mean_and_covariance_of_the_data():
    flow, mean = GaussianFlow(H, sigma=0.5), torch.linspace(-1, 1, H)[:, None].double()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(H, 4000, generator=generator, dtype=torch.float64)  # the columns are independent chunks
    chunks = denoise_guided(lambda x, t: flow.velocity(x, t, mean), noise, 200)
    assert (chunks.mean(1) - mean[:, 0]).abs().max() < 0.04
    spread = torch.cov(chunks)
    assert (spread - flow.covariance).abs().max() < 0.03


def test_the_jacobian_is_really_taken():
    """One guided step of a linear field equals the formula with its Jacobian written out."""
    generator = torch.Generator().manual_seed(1)
    a = torch.randn(H, H, generator=generator, dtype=torch.float64)
    b, noise, prefix = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (H, H, 10))
    steps, frozen, beta = 4, 3, 5.0
    seen = []

    def velocity(x, t):
        seen.append((x.detach().clone(), t))
        return a @ x + b

    result = denoise_guided(velocity, noise, steps, prefix, frozen, beta)
    x, t = seen[-1]
    clean = x - t * (a @ x + b)
    jacobian = torch.eye(H, dtype=torch.float64) - t * a
    error = torch.zeros_like(x)
    error[:10] = torch.as_tensor(soft_mask(H, frozen, 10))[:10, None] * (prefix - clean[:10])
    tau = 1 - t
    weight = min(beta, (1 - tau) / tau * (tau**2 + (1 - tau) ** 2) / (1 - tau) ** 2)
    expected = x + (-(a @ x + b) + weight * jacobian.T @ error) / steps
    torch.testing.assert_close(result, expected)
    lazy = x + (-(a @ x + b) + weight * error) / steps  # what leaving the Jacobian out would give
    assert (result - lazy).abs().max() > 0.1


def test_a_guided_chunk_keeps_the_prefix_and_carries_it_on():
    flow, mean = GaussianFlow(H, sigma=0.3, reach=3.0), torch.zeros(H, 1).double()
    prefix = torch.full((8, 1), 0.2).double()
    generator = torch.Generator().manual_seed(2)
    chunks = []
    for _ in range(40):
        noise = torch.randn(H, 1, generator=generator, dtype=torch.float64)
        chunks.append(denoise_guided(lambda x, t: flow.velocity(x, t, mean), noise, 10, prefix, 4))
    chunks = torch.stack(chunks)[:, :, 0]
    assert (chunks[:, :4] - 0.2).abs().mean() < 0.05  # a sixth of sigma
    kept, free = chunks[:, :4].std(0).max(), chunks[:, -3:].std(0).min()
    assert kept < 0.3 * free  # the end is still the model's own choice
    # What the old chunk says of its first actions moves the next ones as the model's covariance has it.
    s = flow.covariance
    conditional = s[4:10, :4] @ torch.linalg.solve(s[:4, :4], prefix[:4, 0])
    assert (chunks[:, 4:8].mean(0) - conditional[:4]).abs().max() < 0.1
    assert chunks[:, 4].mean() > 0.1
