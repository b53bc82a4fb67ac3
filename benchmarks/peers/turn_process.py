"""The child's side of a measurement in turns: it makes itself ready, then works for as long as each turn says.

Peers run it in interpreters of their own, so that it takes the standard library only. Settings come as one JSON
argument; answers go out as JSON lines, while whatever else is printed goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

Work = Callable[[float], "int | tuple[int, float]"]


def serve_turns(prepare: Callable[..., tuple[Work, dict[str, Any]]]) -> None:
    """Make ready, then answer each line of stdin, the seconds of a turn, with what was done in it.

    Args:
        prepare: takes the settings; returns ``work``, which goes on for so many seconds and says how many items it
            did (and the processor time, s, where that of all its processes is not what is meant), and facts about
            the contender.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    work, facts = prepare(**json.loads(sys.argv[1]))
    _say(answers, {"facts": facts})
    for line in sys.stdin:
        began = time.perf_counter()
        done = work(float(line))
        seconds = time.perf_counter() - began
        count, cpu = done if isinstance(done, tuple) else (done, None)
        _say(answers, {"count": count, "seconds": seconds, "cpu": cpu})


def repeat(call: Callable[[], Any], items: int = 1) -> Work:
    """Work that calls again and again; a call does ``items`` items."""

    def work(seconds: float) -> int:
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            call()
            count += items
        return count

    return work


def _say(answers: Any, what: dict[str, Any]) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()
