"""Muon: orthogonal steps for the matrices of hidden layers, and AdamW as PyTorch has it for the rest."""

import pytest
import torch
from torch import nn

from lohovla.train.muon import MuonAdamW, make_optimizer, orthogonal, parameter_groups


@pytest.mark.parametrize("shape", [(48, 96), (96, 48), (64, 64)])
def test_singular_values_come_to_about_one(shape):
    torch.manual_seed(0)
    left, right = torch.randn(shape[0], 40), torch.randn(40, shape[1])
    matrix = torch.linalg.qr(left)[0] * torch.logspace(0, -1, 40) @ torch.linalg.qr(right.t())[0].t()
    values = torch.linalg.svdvals(orthogonal(matrix[None])[0])[:40]
    assert 0.6 < float(values.min()) <= float(values.max()) < 1.3


def test_other_weights_move_as_by_adamw():
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.ones(5, 3)) for _ in range(2))
    first = MuonAdamW([{"params": [ours], "factor": None}], 0.01, 0.02)
    second = torch.optim.AdamW([theirs], lr=0.01, betas=(0.9, 0.95), weight_decay=0.02)
    for _ in range(5):
        gradient = torch.randn(5, 3)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        first.step()
        second.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize(("adjustment", "factor"), [("original", 2**0.5), ("match_rms_adamw", 0.2 * 128**0.5)])
def test_a_step_of_a_matrix_has_the_size_that_is_asked_for(adjustment, factor):
    torch.manual_seed(0)
    weight = nn.Parameter(torch.zeros(128, 64))
    weight.grad = torch.randn(128, 64) * 1e-3  # the gradient's size plays no part
    MuonAdamW([{"params": [weight], "factor": 20.0, "adjust_lr_fn": adjustment}], 0.001, 0.0).step()
    size = float(weight.detach().norm()) / 64**0.5  # of 64 singular values
    assert size == pytest.approx(0.02 * factor, rel=0.25)


def test_hidden_matrices_and_kernels_are_muons_and_entries_are_not():
    model = nn.ModuleDict(
        {
            "hidden": nn.Linear(64, 64),
            "kernel": nn.Conv2d(48, 48, 3),
            "entry": nn.Linear(4, 64),
            "words": nn.Embedding(100, 64),
            "norm": nn.LayerNorm(64),
        }
    )
    moved = dict(model.named_parameters())
    rest, matrices = parameter_groups(model, moved, 20.0)
    names = {id(p): name for name, p in moved.items()}
    assert {names[id(p)] for p in matrices["params"]} == {"hidden.weight", "kernel.weight"}
    assert {names[id(p)] for p in rest["params"]} == moved.keys() - {"hidden.weight", "kernel.weight"}
    assert isinstance(make_optimizer(model, 1e-3, None), torch.optim.AdamW)


def test_weights_that_adamw_moved_before_go_on():
    weight = nn.Parameter(torch.zeros(64, 64))
    optimizer = MuonAdamW([{"params": [weight], "factor": 20.0}], 0.001, 0.0)
    weight.grad = torch.eye(64)
    optimizer.step()
    other = MuonAdamW([{"params": [weight], "factor": None}], 0.001, 0.0)
    other.load_state_dict(
        {"state": optimizer.state_dict()["state"], "param_groups": other.state_dict()["param_groups"]}
    )
    other.step()
    assert torch.isfinite(weight).all()
