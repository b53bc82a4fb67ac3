"""``lohovla evaluate``: a policy on a suite of tasks, with intervals and a report."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lohovla.errors import UserError
from lohovla.settings import results_folder


def run(config: DictConfig) -> int:
    """Play what is missing; write ``episodes.jsonl``, ``summary.json``, ``table.md`` and ``report.html``."""
    from lohovla.evaluate import diagnose, table
    from lohovla.evaluate.log import refuse_other_settings
    from lohovla.evaluate.report import write_report
    from lohovla.evaluate.run import evaluate, film_failures

    protocol = _protocol(config)
    if config.output is not None:
        refuse_other_settings(Path(config.output), protocol)
    folder = results_folder(config, "evaluate")
    print(f"results go to {folder}; to go on after an interruption, run again with output={folder}", file=sys.stderr)
    rows, seconds = evaluate(protocol, folder, config.runner, config.workers, config.batch)
    results = table.results_of(rows)
    text = table.markdown(*table.results_table(results))
    (folder / "table.md").write_text(text, encoding="utf-8")
    (folder / "summary.json").write_text(json.dumps(table.as_json(results), indent=2), encoding="utf-8")
    films = film_failures(protocol, folder, rows, config.videos, config.runner, config.workers)
    write_report(folder, protocol, rows, results, films)
    print(text)
    if config.diagnose:
        found = diagnose.by_task(rows)
        (folder / "diagnosis.json").write_text(json.dumps(found, indent=2), encoding="utf-8")
        print(table.markdown(*diagnose.as_table(found)))
    played = f"; {seconds:.1f} s of work" if seconds else ""
    print(f"{results.overall.successes} of {results.overall.episodes} solved{played}; {folder / 'report.html'}")
    return 0


def _protocol(config: DictConfig) -> Any:
    """What to evaluate; everything that can be wrong is refused here, before anything is written."""
    from lohovla.envs.env import BlocksEnv
    from lohovla.evaluate.protocol import Protocol, seeds_of, tasks_of
    from lohovla.fanout import run_jobs
    from lohovla.policies.registry import make_policy, split_settings

    if config.batch < 1:
        raise UserError(f"batch must be at least 1, not {config.batch}", "batch=1 is the default")
    if config.videos < 0:
        raise UserError(f"videos cannot be {config.videos}", "videos=0 films nothing")
    list(run_jobs(len, [], config.runner, config.workers))  # no work: only its checks
    env: Any = OmegaConf.to_container(config.env)
    policy: Any = OmegaConf.to_container(config.policy)
    name, settings = split_settings(policy)
    protocol = Protocol(
        tasks_of(config.suite, config.tasks),
        seeds_of(config.split, config.episodes),
        name,
        env,
        config.split,
        settings,
        config.diagnose,
    )
    make_policy(name, BlocksEnv(**env), **settings)
    return protocol
