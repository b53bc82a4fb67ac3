"""The one Euler sampler: exact on straight paths, and used by every way of sampling a chunk."""

import pytest
import torch

from lohovla.control.chunks import real_time_chunking
from lohovla.model.action import flow_matching, fused_sampling
from lohovla.model.action.euler_sampling import euler_sample, noise_level

NOISE, DATA = torch.tensor([[2.0, -1.0], [0.5, 4.0]]), torch.tensor([[0.25, 0.5], [1.0, -2.0]])


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_straight_field_leads_to_the_data_whatever_the_steps(steps):
    seen = []

    def straight(x, step):
        seen.append((noise_level(step, steps), x))
        return NOISE - DATA

    torch.testing.assert_close(euler_sample(straight, NOISE, steps), DATA)
    for t, x in seen:  # where the path is at that level
        torch.testing.assert_close(x, t * NOISE + (1 - t) * DATA)
    assert [t for t, _ in seen] == pytest.approx([1 - k / steps for k in range(steps)])


def test_what_is_given_stands_at_every_step_and_at_the_end():
    fixed = torch.tensor([[True], [False]])
    seen = []

    def field(x, step):
        seen.append(x)
        return torch.ones_like(x)

    made = euler_sample(field, NOISE, 3, DATA, fixed)
    assert all(torch.equal(x[0], DATA[0]) for x in [*seen, made])
    torch.testing.assert_close(made[1], NOISE[1] - 1)


@pytest.mark.parametrize("module", [flow_matching, fused_sampling, real_time_chunking])
def test_every_sampler_of_chunks_is_this_one(module):
    assert module.euler_sample is euler_sample
