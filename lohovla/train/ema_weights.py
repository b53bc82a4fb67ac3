"""Exponential moving average (EMA) of the weights that are trained: what is validated, and what a checkpoint holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.train.sharding import full_tensor, put


class EmaWeights:
    """The running average of a model's trained weights.

    Where weights are sharded, all processes have to call :meth:`applied` and :meth:`apply`.

    Args:
        trained: the trained parameters by name; they may be sharded.
        buffers: gives the buffers that belong to the stage.
        model: the core that is trained.
        shown: the core that gets the averaged weights, which are whole there; may be ``model`` itself.

    Attributes:
        weights: the averages by name, sharded as the parameters are.
        updates: how many times they were updated.
    """

    def __init__(
        self,
        trained: Mapping[str, Tensor],
        buffers: Callable[[], Mapping[str, Tensor]],
        model: LoHoVLA,
        shown: LoHoVLA,
    ):
        self._trained, self._buffers, self._model, self._shown = trained, buffers, model, shown
        self.weights = {name: p.detach().clone() for name, p in trained.items()}
        parameters = dict(shown.named_parameters())
        self._targets = {name: parameters[name] for name in trained}
        self.updates = 0

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """Let the average follow the weights; at the start it follows faster."""
        self.updates += 1
        share = 1 - min(decay, self.updates / (10 + self.updates))
        for name, p in self._trained.items():
            self.weights[name].lerp_(p.detach(), share)

    @contextmanager
    def applied(self) -> Iterator[LoHoVLA]:
        """The model with the averaged weights, in evaluation mode, for a while."""
        own = {name: p.detach().clone() for name, p in self._targets.items()}
        training = self._shown.training
        self.apply()
        self._shown.eval()
        try:
            yield self._shown
        finally:
            self._shown.train(training)
            for name, p in self._targets.items():
                put(own[name], p)

    def apply(self) -> None:
        """Put the averaged weights into the model."""
        for name, p in self._targets.items():
            put(full_tensor(self.weights[name]).to(p.device), p)
        if self._shown is not self._model:
            buffers = dict(self._shown.named_buffers())
            for name, buffer in self._buffers().items():
                put(buffer.to(buffers[name].device), buffers[name])
