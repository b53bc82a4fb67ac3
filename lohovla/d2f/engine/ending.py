"""Where an answer ends: at its end token, its length, or a stop string."""

from __future__ import annotations

from collections.abc import Callable

import torch

from lohovla.d2f import blocks
from lohovla.d2f.engine.lane import Lane


def cut_of(lane: Lane, row: int, done: bool, text: Callable[[list[int]], str] | None) -> tuple[int | None, str]:
    """Where an answer ends, as a place of the canvas, and why; None while it goes on.

    Args:
        lane: it is in.
        row: its place there.
        done: whether its blocks are decided.
        text: turns ids into text, for stop strings.
    """
    canvas, own_text = lane.canvas, lane.texts[row]
    stops = own_text.request.sampling.stop
    if stops or done:
        own = canvas.select(torch.tensor([row], device=canvas.tokens.device))
        end, room = int(blocks.first_end(own)), int(own.limit) * own.size
        known = min(int(blocks.first_mask(own)), end, room)
        given = len(own_text.tail)
        if stops and (place := _stop(own.tokens[0, given:known].tolist(), stops, text)) is not None:
            return given + place, "stop"
        if done:
            return min(end, room), "end" if end < room else "length"
    return None, ""


def _stop(ids: list[int], stops: tuple[str, ...], text: Callable[[list[int]], str] | None) -> int | None:
    """How many tokens stand before the first stop string, if there is one."""
    assert text is not None
    whole = text(ids)
    found = [at for at in (whole.find(stop) for stop in stops) if at >= 0]
    if not found:
        return None
    return max(n for n in range(len(ids) + 1) if len(text(ids[:n])) <= min(found))
