"""Depth as real sensors give it: whole steps of a unit, which 15 bits hold without loss."""

from __future__ import annotations

import numpy as np

DEPTH_STEPS = 2**15 - 1  # signed and unsigned 16-bit pictures both hold them


def quantize_depth(depth: np.ndarray, unit: float) -> np.ndarray:
    """Depth in whole steps of ``unit``, as real sensors give it: 15 bits then hold it without loss."""
    steps = np.clip(np.rint(depth / np.float32(unit)), 0, DEPTH_STEPS).astype(np.float32)
    return steps * np.float32(unit)
