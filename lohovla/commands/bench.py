"""``lohovla bench``: measure, and print one JSON object as the last line."""

from __future__ import annotations

import difflib
import json

from omegaconf import DictConfig

from lohovla.errors import UserError
from lohovla.settings import results_folder

_BENCHMARKS = ("sim", "oracle")


def run(config: DictConfig) -> int:
    """Run the benchmark that ``config.what`` names."""
    if config.what not in _BENCHMARKS:
        nearest = difflib.get_close_matches(str(config.what), _BENCHMARKS, n=1, cutoff=0.0)[0]
        raise UserError(f"there is no benchmark {config.what!r}", f"did you mean `lohovla bench {nearest}`?")
    if config.what == "sim":
        from lohovla.benchmarks import sim

        record = sim.run(config.task, config.seconds, config.workers, config.profile)
        folder = results_folder(config, "bench")
    else:
        from lohovla.benchmarks import oracle

        if config.episodes < 1:
            raise UserError(f"episodes must be at least 1, not {config.episodes}", "episodes=100 is the default")
        folder = results_folder(config, "bench")
        tasks = [config.tasks] if isinstance(config.tasks, str) else list(config.tasks)
        record = oracle.run(
            None if tasks == ["all"] else tasks,
            config.control,
            config.episodes,
            config.drop_probability,
            config.workers,
            folder,
        )
    (folder / "result.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
    return 0
