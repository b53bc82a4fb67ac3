"""The optimiser Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/): orthogonal steps of matrices.

The momentum of a hidden layer's weights is made nearly orthogonal, so that rare directions move as far as common ones.
All other weights (embeddings, biases, entries and exits of few numbers) move by AdamW in the same optimiser. PyTorch's
own ``torch.optim.Muon`` takes two-dimensional weights alone; the kernels of convolutions, which gain most here, are
flattened to matrices.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.95)
_WEIGHT_DECAY = 0.02
_MOMENTUM = 0.95
_EPS = 1e-8
_SMALLEST = 32  # rows or columns up to which a matrix is an entry or an exit of few numbers
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration (Jordan et al., 2024)
_ITERATIONS = 5


class MuonAdamW(torch.optim.Optimizer):
    """Muon for the groups that have a ``factor``, AdamW for the others.

    A step of Muon is ``lr * factor`` times an adjustment times an orthogonal matrix, found in bfloat16. The adjustment
    is named as in PyTorch's ``torch.optim.Muon``: ``original``, ``sqrt(max(1, rows / columns))``, or
    ``match_rms_adamw``, ``0.2 sqrt(max(rows, columns))``, with which the rates of AdamW carry over (2502.16982).

    Args:
        groups: of parameters; ``factor`` multiplies the learning rate of those that Muon moves, None is AdamW;
            ``adjust_lr_fn`` is the adjustment, ``original`` if not given.
        lr: AdamW's.
        weight_decay: decoupled, of both; a step shrinks weights by the learning rate times it.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, weight_decay: float):
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "factor": None, "adjust_lr_fn": "original"})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; returns what ``closure``, if there is one, says of the loss."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            rate = group["lr"] * (1.0 if group["factor"] is None else group["factor"])
            moved = [p for p in group["params"] if p.grad is not None]
            adam = group["factor"] is None
            changes = self._adam(moved) if adam else self._orthogonal(moved, group["adjust_lr_fn"])
            for parameter, change in changes:
                parameter.mul_(1 - rate * group["weight_decay"]).add_(change, alpha=-rate)
        return loss

    def _adam(self, parameters: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Each with the direction of Adam (Kingma & Ba, 1412.6980)."""
        first, second = BETAS
        for parameter in parameters:
            gradient, state = parameter.grad, self.state[parameter]
            assert gradient is not None
            if "exp_avg_sq" not in state:  # at the start, or where Muon moved it before
                state |= {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(gradient)}
                state["exp_avg_sq"] = torch.zeros_like(gradient)
            state["step"] += 1
            steps = int(state["step"])
            state["exp_avg"].lerp_(gradient, 1 - first)
            state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
            deviation = (state["exp_avg_sq"] / (1 - second**steps)).sqrt_().add_(_EPS)
            yield parameter, (state["exp_avg"] / (1 - first**steps)).div_(deviation)

    def _orthogonal(self, parameters: Iterable[Tensor], adjust_lr_fn: str) -> Iterator[tuple[Tensor, Tensor]]:
        """Each with Nesterov's momentum made orthogonal; all matrices of one shape go through at once."""
        by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for parameter in parameters:
            by_shape[parameter.flatten(1).shape].append(parameter)
        for (rows, columns), several in by_shape.items():
            ahead = [self._momentum(parameter).flatten(1) for parameter in several]
            size = 0.2 * max(rows, columns) ** 0.5
            if adjust_lr_fn == "original":
                size = max(1.0, rows / columns) ** 0.5
            for parameter, change in zip(several, orthogonal(torch.stack(ahead).bfloat16()), strict=True):
                yield parameter, change.to(parameter.dtype).view_as(parameter) * size

    def _momentum(self, parameter: Tensor) -> Tensor:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if "exp_avg" not in state:
            state["exp_avg"] = torch.zeros_like(gradient)
        state["exp_avg"].lerp_(gradient, 1 - _MOMENTUM)
        return gradient.lerp(state["exp_avg"], _MOMENTUM)


def make_optimizer(model: nn.Module, lr: float, muon_lr: float | None) -> torch.optim.Optimizer:
    """The optimiser of the weights that a gradient is asked for.

    Args:
        model: whose weights they are.
        lr: the highest rate of AdamW.
        muon_lr: the highest rate of Muon for the matrices of hidden layers; None moves all by AdamW.
    """
    moved = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if muon_lr is None:
        return torch.optim.AdamW(moved.values(), lr=lr, betas=BETAS, weight_decay=_WEIGHT_DECAY)
    return MuonAdamW(parameter_groups(model, moved, muon_lr / lr), lr, _WEIGHT_DECAY)


def parameter_groups(model: nn.Module, moved: Mapping[str, Tensor], factor: float) -> list[dict[str, Any]]:
    """Groups of :class:`MuonAdamW`: weights of linear layers and convolutions with many rows and columns, and the rest.

    Args:
        model: whose weights they are.
        moved: those that are trained, by name.
        factor: of Muon's learning rate over AdamW's.
    """
    layers = {f"{name}.weight" for name, layer in model.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}
    matrices = [p for name, p in moved.items() if name in layers and min(p.flatten(1).shape) > _SMALLEST]
    chosen = {id(p) for p in matrices}
    rest = [p for p in moved.values() if id(p) not in chosen]
    groups = [{"params": rest, "factor": None}, {"params": matrices, "factor": factor}]
    return [group for group in groups if group["params"]]


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearest matrices (b, m, n) with equal singular values, roughly: they end up between 0.7 and 1.2."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
