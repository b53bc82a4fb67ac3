"""Cameras of any names and sizes as tokens, conditioned on the words."""

import pytest
import torch
from point_world import tiny_model
from torch import nn

from lohovla.model.encoders.camera_encoder import modulated_group_norm, pixel_grid

CAMERAS = {"front": (48, 64), "wrist": (32, 32), "left": (32, 32)}


@pytest.fixture(scope="module")
def encoder():
    model, _ = tiny_model(CAMERAS)
    return model.camera_encoder


@pytest.fixture(scope="module")
def given():
    generator = torch.Generator().manual_seed(1)
    pictures = {n: torch.rand(2, 3, *size, generator=generator) * 2 - 1 for n, size in CAMERAS.items()}
    return pictures, torch.randn(2, 4, 96, generator=generator), torch.ones(2, 4, dtype=torch.bool)


@torch.no_grad()
def test_each_camera_gives_its_tokens_in_the_order_of_the_names(encoder, given):
    pictures, words, valid = given
    tokens = encoder(pictures, words, valid)
    assert tokens.shape == (2, 3 * encoder.tokens, 96)
    changed = encoder({**pictures, "wrist": -pictures["wrist"]}, words, valid)
    moved = (tokens != changed).any(-1).any(0).view(3, encoder.tokens)
    assert moved.any(1).tolist() == [False, True, False]


@torch.no_grad()
def test_cameras_of_one_size_that_see_the_same_are_told_apart(encoder, given):
    pictures, words, valid = given
    same = encoder({**pictures, "left": pictures["wrist"]}, words, valid).view(2, 3, encoder.tokens, -1)
    assert not torch.allclose(same[:, 1], same[:, 2])


@torch.no_grad()
def test_the_words_condition_the_features_and_padding_does_not(encoder, given):
    pictures, words, valid = given
    tokens = encoder(pictures, words, valid)
    other = words.clone()
    other[0, 0] += 1.0
    changed = encoder(pictures, other, valid)
    assert not torch.allclose(tokens[0], changed[0])
    assert torch.allclose(tokens[1], changed[1], atol=1e-5)
    longer = torch.cat([words, torch.randn(2, 2, 96)], 1)
    padded = encoder(pictures, longer, torch.cat([valid, torch.zeros(2, 2, dtype=torch.bool)], 1))
    assert torch.allclose(tokens, padded, atol=1e-5)


@torch.no_grad()
def test_a_keypoint_follows_what_it_attends_to(encoder):
    """The mean place of a map that attends to bright pixels is where they are, finer than the grid of features."""
    grid = pixel_grid(8, 8, torch.device("cpu")).view(8, 8, 2)
    assert grid[0, 0].tolist() == [-1, -1]
    assert grid[0, -1].tolist() == [1, -1]
    weights = torch.zeros(8, 8)
    weights[2, 3], weights[2, 4] = 0.5, 0.5
    place = (weights[..., None] * grid).sum((0, 1))
    assert torch.allclose(place, (grid[2, 3] + grid[2, 4]) / 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_features_are_normalised_as_by_group_norm(dtype):
    torch.manual_seed(0)
    features = (torch.randn(2, 16, 5, 7) * 3 + 1).to(dtype)
    scale, shift = torch.randn(2, 16), torch.randn(2, 16)
    wanted = nn.functional.group_norm(features.float(), 8) * (1 + scale[..., None, None]) + shift[..., None, None]
    found = modulated_group_norm(features, scale, shift)
    assert found.dtype == dtype
    assert torch.allclose(found.float(), wanted, atol=1e-5 if dtype == torch.float32 else 0.1)
