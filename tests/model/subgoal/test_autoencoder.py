"""The autoencoder: starts as principal components, is local, and its parts add up."""

import pytest
import torch

from lohovla.model.configuration import LoHoVLAConfig
from lohovla.model.subgoal.autoencoder import Autoencoder, downsample


@pytest.fixture(scope="module")
def pictures():
    """Pictures whose squares of 8 x 8 pixels are mixtures of four patterns."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randn(4, 4, 1, 8, 1, 8, generator=generator)
    amounts = torch.randn(6, 4, 1, 10, 1, 20, 1, generator=generator) * torch.tensor([4.0, 3, 2, 1]).view(
        1, 4, 1, 1, 1, 1, 1
    )
    return (patterns[None] * amounts).sum(1).reshape(6, 4, 80, 160)


def test_principal_components_code_what_has_few_causes(pictures):
    """Squares on the grid have 4 causes; those half a square off are made of 8 halves, twice, and of 16 quarters."""
    coder = Autoencoder(LoHoVLAConfig(image_channels=36))
    coder.init_from_pca(pictures)
    with torch.no_grad():
        latents = coder.encode(pictures).mode()
        back = coder.decode(latents)
    assert latents.shape == (6, 36, 10, 20)
    assert (back - pictures).square().mean() < 0.02 * pictures.square().mean()
    coarse = Autoencoder(LoHoVLAConfig(image_channels=1))
    coarse.init_from_pca(pictures)
    with torch.no_grad():
        worse = coarse.decode(coarse.encode(pictures).mode())
    assert (worse - pictures).square().mean() > 0.2 * pictures.square().mean()


@torch.no_grad()
def test_a_change_stays_near(make_tiny, pictures):
    coder = make_tiny()[0].autoencoder
    other = pictures.clone()
    other[:, :, :8, :8] += 1
    before, after = (coder.encode(x).mode() for x in (pictures, other))
    moved = (before - after).abs().amax((0, 1)) > 1e-6
    assert moved[0, 0]
    assert not moved[:, 12:].any()


def test_both_parts_count(make_tiny, pictures):
    coder = make_tiny()[0].autoencoder
    dist = coder.encode(pictures[:1])
    loss = coder.decode(dist.sample()).square().mean() + dist.kl().mean()
    loss.backward()
    silent = [name for name, p in coder.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_small_halves_the_picture():
    picture = torch.arange(16.0).reshape(1, 1, 4, 4).expand(1, 4, 4, 4)
    assert downsample(picture)[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
