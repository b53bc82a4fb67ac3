"""Real-time priority for the threads that command, where the system grants it."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator

_LEVEL = 20  # of 1 to 99: above every ordinary process, below the kernel's own threads


@contextlib.contextmanager
def urgent(wanted: bool = True) -> Iterator[bool]:
    """Run the calling thread before all ordinary ones (``SCHED_FIFO``); processes that it starts are ordinary.

    Yields whether it was granted: it needs ``CAP_SYS_NICE`` or an ``rtprio`` limit, and Linux.
    """
    if not wanted or not hasattr(os, "sched_setscheduler"):
        yield False
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(_LEVEL))
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        os.sched_setscheduler(0, before[0] & ~os.SCHED_RESET_ON_FORK, before[1])


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Leave what exists now out of the garbage collector's rounds: they would hold a command up."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
