"""Settings at the edge of what is allowed: a request may ask for them, and must get a token."""

import pytest
import torch

from lohovla.d2f.sampling import Sampling, choose_tokens, penalize


@pytest.mark.parametrize("temperature", [1e-320, 1e-45, 1e-38, 1e-6, 1e30])
def test_any_temperature_gives_a_token(temperature):
    logits = torch.tensor([[2.0, 5.0, 1.0, -torch.inf], [0.0, -3.0, 0.0, -torch.inf]])
    tokens, confidence, _ = choose_tokens(logits, Sampling(temperature=temperature), torch.tensor([0.3, 0.9]))
    assert tokens.max() < 3
    assert confidence.isfinite().all()
    if temperature < 1e-3:
        assert tokens.tolist() == [1, 2]  # the likeliest; of two that are alike, the number drawn decides
        assert confidence.tolist() == pytest.approx([1.0, 0.5])


@pytest.mark.parametrize("penalty", [1e-300, 1e-40, 1e40, 1e300])
def test_any_penalty_leaves_numbers(penalty):
    logits = torch.tensor([[2.0, 5.0, -1.0, -torch.inf]])
    present = torch.tensor([[True, True, True, True]])
    for temperature in (0.0, 0.7):
        penalized = penalize(logits, present, penalty)
        tokens, confidence, _ = choose_tokens(penalized, Sampling(temperature=temperature), torch.tensor([0.5]))
        assert tokens.item() in (0, 1)
        assert confidence.isfinite().all()
