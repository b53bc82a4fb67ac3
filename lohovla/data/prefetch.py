"""Work done ahead of who waits for it, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def prefetch(work: Callable[[int], Result], start: int, depth: int, threads: int = 1) -> Generator[Result, None, None]:
    """Endless results of ``work(start)``, ``work(start + 1)``, ..., up to ``depth`` of them made before they are due.

    Args:
        work: what to do; called from other threads.
        start: the first number.
        depth: results made ahead.
        threads: that make them.

    Raises:
        Exception: what ``work`` raised, when its result is due.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="prefetch")
    due: deque[Future[Result]] = deque(pool.submit(work, start + number) for number in range(depth))
    following = start + depth
    try:
        while True:
            result = due.popleft().result()
            due.append(pool.submit(work, following))
            following += 1
            yield result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
