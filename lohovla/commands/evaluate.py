"""``lohovla evaluate``: a policy on a suite of tasks, with intervals and a report."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lohovla.output_folder import disk_errors, write_atomically
from lohovla.settings.hydra_config import results_folder


def run(config: DictConfig) -> int:
    """Play what is missing; write ``episodes.jsonl``, ``summary.json``, ``table.md`` and ``report.html``."""
    from lohovla.envs.tasks.names import VERSION
    from lohovla.evaluate import failure_analysis
    from lohovla.evaluate.episode_log import refuse_other_settings, refuse_while_written
    from lohovla.evaluate.report import result_table
    from lohovla.evaluate.report.evaluation_report import write_report
    from lohovla.evaluate.run_evaluation import evaluate, film_some

    if config.planner is not None:
        from lohovla.commands.evaluate_planner import run_planner

        return run_planner(config)
    if config.world.name != "blocks":
        from lohovla.commands.evaluate_world import run_world

        return run_world(config)
    config.batch = config.batch or 1
    protocol = _protocol(config)
    if config.output is not None:
        refuse_while_written(Path(config.output))
        refuse_other_settings(Path(config.output), protocol)
    folder = results_folder(config, "evaluate", {"environment": VERSION})
    print(f"results go to {folder}; to go on after an interruption, run again with output={folder}", file=sys.stderr)
    with disk_errors(folder, f"run again with output={folder}: finished episodes are kept"):
        rows, seconds = evaluate(protocol, folder, config.runner, config.workers, config.batch)
        results, found = (
            result_table.results_of(rows),
            failure_analysis.summary_by_task(rows) if config.diagnose else None,
        )
        text = result_table.markdown(*result_table.results_table(results))
        write_atomically(folder / "table.md", text.encode())
        write_atomically(folder / "summary.json", json.dumps(result_table.summary_json(results), indent=2).encode())
        if found is not None:
            write_atomically(folder / "diagnosis.json", json.dumps(found, indent=2).encode())
        many = config.videos, config.runner, config.workers, config.videos_per_task
        films = film_some(protocol, folder, rows, *many)
        write_report(folder, protocol, rows, results, films)
    print(text)
    if found is not None:
        print(result_table.markdown(*failure_analysis.as_table(found)))
    played = f"; {seconds:.1f} s of work" if seconds else ""
    print(f"{results.overall.successes} of {results.overall.episodes} solved{played}; {folder / 'report.html'}")
    return 0


def _protocol(config: DictConfig) -> Any:
    """What to evaluate; everything that can be wrong is refused here, before anything is written."""
    from lohovla.envs.env import BlocksEnv
    from lohovla.evaluate.protocol import Protocol, seeds_of, tasks_of
    from lohovla.parallel_jobs import run_jobs
    from lohovla.policies.registry import make_policy, split_settings

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
