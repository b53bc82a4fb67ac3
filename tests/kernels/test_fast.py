"""Backends of a chunk: the same poses within stated bounds, on the shipped model."""

import pytest
import torch

from lohovla.errors import UserError
from lohovla.model import acting
from lohovla.model.acting import Attended
from lohovla.model.checkpoint import load
from lohovla.model.fast import Chunks


@pytest.fixture(scope="module")
def scene():
    """The model, and what a chunk is made from: two sub-tasks with caches whose padding differs."""
    model, _ = load(None)
    generator = torch.Generator().manual_seed(3)
    heads, size = model.config.expert_heads, model.config.text_config.head_dim

    def drawn():
        return torch.randn(2, heads, 40, size, generator=generator)

    points = torch.tensor([[[0.5, 0.1, 0.02, 0.3, 0.05], [0.6, -0.2, 0.05, 0.0, 0.05]]]).repeat(2, 1, 1)
    points = points + 0.02 * torch.rand(points.shape, generator=generator)
    valid = torch.arange(40) < torch.tensor([[40], [31]])
    attended = Attended(points, [(drawn(), drawn()) for _ in range(model.config.expert_layers)], valid)
    state = torch.zeros(2, 13)
    state[:, :3] = torch.tensor(model.config.look)
    noise = torch.randn(2, model.config.horizons["ee"], 7, generator=generator)
    return model, (attended, state, torch.zeros(2, 4), 4, noise)


# Metres and radians.
@pytest.mark.parametrize(("backend", "bound"), [("eager", 0.0), ("fused", 1e-5)])
def test_backends_agree(scene, backend, bound):
    model, given = scene
    wanted = acting.ee_chunk(model, *given)
    got = Chunks(model, backend).ee(*given)
    assert got.shape == wanted.shape
    assert (got[..., :6] - wanted[..., :6]).abs().max() <= bound
    assert torch.equal(got[..., 6], wanted[..., 6])


def test_fused_does_not_see_padding(scene):
    model, (attended, *rest) = scene
    before = Chunks(model, "fused").ee(attended, *rest)
    cache = [tuple(torch.where(attended.valid[:, None, :, None], x, 9.0) for x in pair) for pair in attended.cache]
    assert torch.allclose(Chunks(model, "fused").ee(Attended(attended.points, cache, attended.valid), *rest), before)


def test_unknown_backends_are_named(scene):
    with pytest.raises(UserError, match="no backend 'tensorrt'"):
        Chunks(scene[0], "tensorrt")
