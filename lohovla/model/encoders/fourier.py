"""Fourier features of places on the table."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_WAVES = 6


def fourier_features(xy: Tensor) -> Tensor:
    """Sines and cosines (..., 4 * 6) of a place on the table (..., 2), m, at wavelengths from 2 m down to 6 cm."""
    scale = math.pi * 2.0 ** torch.arange(_WAVES, device=xy.device, dtype=xy.dtype)
    angle = (xy[..., None] * scale).flatten(-2)
    return torch.cat([angle.sin(), angle.cos()], -1)


FOURIER_DIM = 4 * _WAVES
