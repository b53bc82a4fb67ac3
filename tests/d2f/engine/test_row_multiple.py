"""How many rows a product needs: found by trying, and enough for a row's bits not to depend on the others."""

import pytest
import torch
from torch import nn

from lohovla.d2f.engine.row_multiple import MOST, row_multiple


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_found_is_enough(dtype):
    torch.manual_seed(0)
    layers = [nn.Linear(i, o, bias=False).to(dtype) for i, o in ((32, 48), (576, 192), (48, 1000))]
    multiple = row_multiple(layers)
    assert MOST % multiple == 0
    for layer in layers:
        x = torch.randn(240, layer.in_features).to(dtype)
        with torch.inference_mode():
            whole = layer(x)
            for rows in range(multiple, 240, 3 * multiple):
                assert torch.equal(layer(x[:rows].clone()), whole[:rows]), rows


class Fussy(nn.Linear):
    """Rounds otherwise with fewer than so many rows."""

    least = 8

    def forward(self, x):
        return super().forward(x) + (1.0 if len(x) % self.least else 0.0)


def test_a_layer_that_rounds_otherwise_needs_more():
    assert row_multiple([Fussy(8, 8), nn.Linear(4, 4)]) == 8
    Fussy.least = 64
    assert row_multiple([Fussy(8, 8)]) == MOST


def test_other_layers_get_the_most():
    other = nn.Module()
    other.in_features = 4
    assert row_multiple([nn.Linear(4, 4), other]) == MOST
    assert row_multiple([nn.ReLU()]) == MOST
