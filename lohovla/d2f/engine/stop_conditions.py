"""Where an answer ends: at its end token, its length, or a stop string."""

from __future__ import annotations

from collections.abc import Callable

from lohovla.d2f.engine.request_group import RequestGroup
from lohovla.d2f.generation_output import GenerationOutput
from lohovla.d2f.stop_strings import stopped


def endings(lane: RequestGroup, text: Callable[[list[int]], str] | None) -> dict[int, GenerationOutput | Exception]:
    """The answers of a lane that are over, by their row; or what went wrong with one.

    Args:
        lane: of the texts.
        text: turns ids into text, for stop strings.
    """
    canvas = lane.canvas
    places = (part.tolist() for part in (canvas.done, canvas.gap, canvas.end, canvas.limit))
    over: dict[int, GenerationOutput | Exception] = {}
    for row, (own, done, gap, end, limit) in enumerate(zip(lane.texts, *places, strict=True)):
        given, room, stops = len(own.tail), limit * canvas.size, own.request.sampling.stop
        known = canvas.tokens[row, given : min(gap, end, room)].tolist() if stops else []
        try:
            stop = stopped(known, stops, text)
        except Exception as error:  # of this text alone
            over[row] = error
            continue
        if stop is not None:
            over[row] = lane.answer(row, given + stop.tokens, "stop", stop.characters)
        elif done:
            over[row] = lane.answer(row, min(end, room), "end" if end < room else "length")
    return over
