"""Observations to inputs on a device: pictures travel as bytes while the goals are tokenised."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lohovla.model.model_inputs import ModelInputs
from lohovla.model.processor import Processor, picture_of


class DeviceTransfer:
    """Makes the same of observations as the processor does, on ``device``.

    On CUDA they are copied from pinned memory on a stream of their own; two sets of buffers take turns, so that one
    is filled while the other may still be under way.

    Args:
        processor: of the checkpoint.
        device: where the inputs are wanted.
    """

    def __init__(self, processor: Processor, device: torch.device):
        self._processor, self._device = processor, device
        self._cuda = device.type == "cuda"
        self._aside = torch.cuda.Stream(device) if self._cuda else None
        self._sets: list[list[Tensor]] = [[], []]
        self._left: list[Any] = [None, None]  # events after the copies from each pinned buffer
        self._turn = 0

    def __call__(self, observations: Sequence[Mapping[str, Any]]) -> ModelInputs:
        """A batch of observations.

        Raises:
            UserError: see :meth:`Processor.__call__`.
        """
        sent = self._send(self._processor.arrays(observations))
        goal, valid = self._processor.goals([str(o["instruction"]) for o in observations])
        if self._cuda:
            here = torch.cuda.current_stream(self._device)
            here.wait_stream(self._aside)  # type: ignore[arg-type]
            for x in sent:
                x.record_stream(here)
        colors, depths, states = sent
        return ModelInputs(picture_of(colors, depths), states, goal.to(self._device), valid.to(self._device))

    def _send(self, arrays: list[np.ndarray]) -> list[Tensor]:
        self._turn = 1 - self._turn
        if self._left[self._turn] is not None:
            self._left[self._turn].synchronize()
        given = [torch.from_numpy(array) for array in arrays]
        own = self._sets[self._turn]
        if [x.shape for x in own] != [x.shape for x in given]:
            with torch.inference_mode(False):  # or they could not be written to outside of it
                own = [torch.empty(x.shape, dtype=x.dtype, pin_memory=self._cuda) for x in given]
            self._sets[self._turn] = own
        for mine, x in zip(own, given, strict=True):
            mine.copy_(x)
        with torch.cuda.stream(self._aside) if self._cuda else contextlib.nullcontext():
            sent = [x.to(self._device, non_blocking=True, copy=True) for x in own]
            if self._aside is not None:
                self._left[self._turn] = self._aside.record_event()
        return sent
