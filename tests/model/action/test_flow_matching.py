"""Noise levels, and chunks integrated along a velocity with any number of steps and any prefix."""

import pytest
import torch
from torch import nn

from lohovla.model.action.flow_matching import ActionVelocity, sample_time, sinusoidal_embedding

NOISE = torch.randn(3, 16, 7, generator=torch.Generator().manual_seed(1))


class StraightVelocity(nn.Module):
    """An expert that says e - a for one target everywhere, and keeps what it was asked."""

    def __init__(self, target):
        super().__init__()
        self.target, self.asked = target, []

    def forward(self, x, t, condition, cache, valid, anchors):
        self.asked.append((x.clone(), t.clone(), condition, cache, valid, anchors))
        return NOISE - self.target


def velocity_to(target):
    expert = StraightVelocity(target)
    return expert, ActionVelocity(expert, torch.ones(3, 5), ["cache"], torch.ones(3, 4, dtype=torch.bool), "anchors")


def test_noise_levels_are_high_more_often_and_never_zero():
    torch.manual_seed(0)
    t = sample_time((20000,), torch.device("cpu"))
    assert t.min() >= 0.001
    assert t.max() <= 1.0
    assert t.mean() == pytest.approx(0.999 * 0.6 + 0.001, abs=0.01)  # the mean of Beta(1.5, 1)


@pytest.mark.parametrize(("drawn", "level"), [(0.0, 0.001), (0.125, 0.999 * 0.25 + 0.001), (1.0, 1.0)])
def test_noise_levels_of_what_is_drawn(monkeypatch, drawn, level):
    monkeypatch.setattr(torch, "rand", lambda shape, device: torch.full(shape, drawn, device=device))
    assert sample_time((1,), torch.device("cpu")).item() == pytest.approx(level, abs=1e-6)


def test_noise_levels_are_told_apart():
    embedded = sinusoidal_embedding(torch.tensor([[0.0, 0.001, 0.5, 1.0]]))
    assert embedded.shape == (1, 4, 64)
    assert torch.cdist(embedded, embedded)[0].add(torch.eye(4)).min() > 0.05


@pytest.mark.parametrize("steps", [1, 2, 4, 10])
def test_steps_follow_the_velocity_from_noise_to_data(steps):
    """With e - a as the velocity everywhere, every number of steps arrives at a."""
    target = torch.full((3, 16, 7), 0.25)
    expert, velocity = velocity_to(target)
    torch.testing.assert_close(velocity.run(NOISE, steps), target, atol=1e-5, rtol=0)
    levels = [float(t[0, 0]) for _, t, *_ in expert.asked]
    assert levels == pytest.approx([1 - k / steps for k in range(steps)])


def test_the_expert_is_told_what_was_encoded():
    expert, velocity = velocity_to(torch.zeros(3, 16, 7))
    velocity.velocity(NOISE, torch.ones(3, 16))
    _, _, condition, cache, valid, anchors = expert.asked[0]
    assert condition.shape == (3, 5)
    assert (cache, valid.shape, anchors) == (["cache"], (3, 4), "anchors")


def test_actions_given_clean_are_at_level_zero():
    expert, velocity = velocity_to(torch.zeros(3, 16, 7))
    prefix = torch.full((3, 2, 7), 0.5)
    chunk = velocity.run(NOISE, 2, prefix)
    assert torch.equal(chunk[:, :2], prefix)
    assert len(expert.asked) == 2
    for x, t, *_ in expert.asked:
        assert torch.equal(x[:, :2], prefix)
        assert t[:, :2].eq(0).all()
        assert t[:, 2:].gt(0).all()
