"""Observations and labels for the tiny core."""

import pytest
import torch

from lohovla.model.model_inputs import ModelInputs
from lohovla.train.training_batch import LabelledBatch

GOALS = (
    "Put the blocks in the bowls with matching colors.",
    "Stack all the blocks.",
    "Put the red block in the bowl.",
)


@pytest.fixture(scope="session")
def inputs(tiny):
    """Three observations whose goals differ in length."""
    _, processor = tiny
    generator = torch.Generator().manual_seed(5)
    # Patches of one colour, so that the map differs from place to place.
    coarse = torch.rand(3, 4, 10, 20, generator=generator) * 2 - 1
    picture = torch.nn.functional.interpolate(coarse, scale_factor=16)
    goal, valid = processor.goals(GOALS)
    assert valid.sum(1).unique().numel() == 3
    return ModelInputs(picture, torch.randn(3, 13, generator=generator), goal, valid)


@pytest.fixture
def row_of():
    """Takes one row of a batch of observations, its goal no longer than it is."""

    def row(inputs, number):
        length = int(inputs.goal_valid[number].sum())
        at = slice(number, number + 1)
        return ModelInputs(
            inputs.picture[at], inputs.state[at], inputs.goal[at, :length], inputs.goal_valid[at, :length]
        )

    return row


@pytest.fixture
def labels(tiny):
    """Makes a training batch of observations, sentences (B, S) and points (B, S, 2, 5)."""
    _, processor = tiny

    def make(inputs, sentences, points):
        tokens = torch.stack([processor.subtasks(row) for row in sentences])
        count = len(tokens)
        objects = torch.full((count, 40, 10), -1.0)
        return LabelledBatch(inputs, tokens, points, objects, inputs.picture, torch.ones(count))

    return make
