"""The same work in many processes: on this machine, or on a Ray cluster.

Every job runs by the same code path wherever it runs, and depends on nothing but itself, so that results do
not depend on how many workers there are or on who does what.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from lohovla.errors import SetupError, UserError

RUNNERS = ("local", "ray")
_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


def run_jobs(
    function: Callable[[_Job], _Result], jobs: Sequence[_Job], runner: str = "local", workers: int | None = None
) -> Iterator[_Result]:
    """Yield ``function(job)`` of every job, in whatever order they finish.

    Args:
        function: a module-level function; it and its jobs are pickled.
        jobs: what to do.
        runner: ``local`` for processes of this machine, ``ray`` for a Ray cluster (one is started here
            unless ``RAY_ADDRESS`` names one).
        workers: how many at once; the number of cores (of the cluster, with Ray) if None. With ``local``
            and one worker everything runs in this process.

    Raises:
        UserError: there is no such runner, or no worker.
        SetupError: Ray is not installed.
    """
    if runner not in RUNNERS:
        raise UserError(f"runner cannot be {runner!r}", f"choose one of {', '.join(RUNNERS)}")
    if workers is not None and workers < 1:
        raise UserError(f"workers must be at least 1, not {workers}", "workers=null takes one a core")
    if runner == "ray" and importlib.util.find_spec("ray") is None:
        raise SetupError("runner=ray needs Ray", "pip install 'lohovla[ray]', or use runner=local")
    if not jobs:
        return
    if runner == "ray":
        yield from _on_ray(function, jobs, workers)
    elif workers == 1:
        yield from map(function, jobs)
    else:
        context = multiprocessing.get_context("spawn")  # OpenGL and threads do not survive a fork
        with context.Pool(min(workers or os.cpu_count() or 1, len(jobs))) as pool:
            yield from pool.imap_unordered(function, jobs)


def _on_ray(function: Callable[[Any], Any], jobs: Sequence[Any], workers: int | None) -> Iterator[Any]:
    import ray

    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False, include_dashboard=False, configure_logging=False)
    try:
        remote = ray.remote(num_cpus=1)(function)
        limit = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        waiting, running = list(reversed(jobs)), []
        while waiting or running:
            while waiting and len(running) < limit:
                running.append(remote.remote(waiting.pop()))
            done, running = ray.wait(running)
            yield from ray.get(done)
    finally:
        if started:
            ray.shutdown()
