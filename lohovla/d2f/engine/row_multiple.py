"""How many rows a matrix product needs so that a row's result does not depend on the others.

Libraries choose another kernel for products of few rows, and it rounds otherwise. With a multiple of so many rows, and
the rest padding, a request gets the same bits alone and among others. Fewer rows are faster where one request runs.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

MOST = 16  # enough wherever it was tried
_CANDIDATES = (1, 2, 4, 8)
_PROBED = 64  # rows


@torch.inference_mode()
def row_multiple(modules: Iterable[nn.Module]) -> int:
    """The smallest multiple with which the layers at hand round every row alike, found by trying.

    Args:
        modules: of the model, its language head included. Where layers other than ``nn.Linear`` multiply, or on a GPU,
            it is :data:`MOST`.
    """
    layers = [module for module in modules if isinstance(module, nn.Linear)]
    others = [module for module in modules if hasattr(module, "in_features") and not isinstance(module, nn.Linear)]
    if not layers or others or layers[0].weight.device.type != "cpu":
        return MOST
    shapes = {(layer.weight.shape, layer.weight.dtype, layer.bias is None): layer for layer in layers}
    generator = torch.Generator().manual_seed(0)
    found = 1
    for layer in shapes.values():
        x = torch.randn(_PROBED, layer.in_features, generator=generator).to(layer.weight.dtype)
        whole = layer(x)
        while found < MOST and not _alike(layer, x, whole, found):
            found = next((one for one in (*_CANDIDATES, MOST) if one > found), MOST)
    return found


def _alike(layer: nn.Linear, x: torch.Tensor, whole: torch.Tensor, multiple: int) -> bool:
    """Whether the first rows are the same in products of several multiples of rows."""
    return all(torch.equal(layer(x[: k * multiple].clone()), whole[: k * multiple]) for k in (1, 2, 3, 5))
