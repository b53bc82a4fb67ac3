"""One step of attention with a running maximum and sum (Milakov and Gimelshein, 1805.02867), for the kernels of it."""

from __future__ import annotations

from lohovla.kernels.runtime import jit, tl


@jit
def attend(q, keys, values, allowed, scale, top, total, mixed):
    """Take a tile of ``keys`` (d, n) and ``values`` (n, d) into what ``q`` (m, d) has seen; ``allowed`` is (m, n).

    ``scale`` is in units of log2. ``top`` stays finite, so that a row that sees nothing of a tile is no exception.
    """
    scores = tl.dot(q, keys, input_precision="ieee") * scale
    scores = tl.where(allowed, scores, -float("inf"))
    highest = tl.maximum(top, tl.max(scores, 1))
    shrink = tl.exp2(top - highest)
    chance = tl.exp2(scores - highest[:, None])
    total = total * shrink + tl.sum(chance, 1)
    mixed = mixed * shrink[:, None]
    mixed = tl.dot(chance.to(values.dtype), values, mixed, input_precision="ieee")
    return highest, total, mixed
