"""``lohovla evaluate world=...``: a policy in another project's environment, with intervals and a report."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lohovla.errors import UserError
from lohovla.output_folder import disk_errors, write_atomically
from lohovla.settings.hydra_config import results_folder

_OF_BLOCKS = ("oracle", "teacher", "wander")  # policies that know the block world's state
_BATCH = 10  # episodes that run at once in a worker, where nobody says how many


def run_world(config: DictConfig) -> int:
    """Play what is missing; write ``episodes.jsonl``, ``summary.json``, ``table.md`` and ``report.html``."""
    from lohovla.envs.worlds.shared import shared_world
    from lohovla.evaluate.episode_log import refuse_while_written
    from lohovla.evaluate.report.result_table import markdown
    from lohovla.evaluate.report.world_report import write_world_report
    from lohovla.evaluate.report.world_table import world_json, world_results, world_table
    from lohovla.evaluate.run_world_evaluation import evaluate_world, film_world, refuse_other_world_settings

    config.batch = config.batch or _BATCH
    protocol = _protocol(config)
    world = shared_world(protocol.world)
    if config.output is not None:
        refuse_while_written(Path(config.output))
        refuse_other_world_settings(Path(config.output), protocol)
    folder = results_folder(config, "evaluate", {"made_with": world.made_with})
    print(f"results go to {folder}; to go on after an interruption, run again with output={folder}", file=sys.stderr)
    with disk_errors(folder, f"run again with output={folder}: finished episodes are kept"):
        rows, seconds = evaluate_world(protocol, folder, config.runner, config.workers)
        results = world_results(rows, world.groups)
        text = markdown(*world_table(results, protocol.groups))
        write_atomically(folder / "table.md", text.encode())
        write_atomically(folder / "summary.json", json.dumps(world_json(results), indent=2).encode())
        films = film_world(protocol, folder, rows, config.videos, config.videos_per_task)
        write_world_report(folder, protocol, rows, results, films)
    print(text)
    played = f"; {seconds:.1f} s of work" if seconds else ""
    print(f"{results.overall.successes} of {results.overall.episodes} solved{played}; {folder / 'report.html'}")
    return 0


def _protocol(config: DictConfig) -> Any:
    """What to evaluate; everything that can be wrong is refused here, before anything is written."""
    from lohovla.envs.worlds.shared import shared_world
    from lohovla.evaluate.protocol import seeds_of
    from lohovla.evaluate.world_protocol import WorldProtocol, instructions_of
    from lohovla.parallel_jobs import run_jobs
    from lohovla.policies.registry import make_policy, split_settings

    if config.diagnose:
        raise UserError("diagnose=true is for the block world, whose oracle it asks", "leave it out")
    if config.policy.name in _OF_BLOCKS:
        raise UserError(
            f"policy={config.policy.name} is for the block world alone",
            "policy=random, expert, lohovla, lerobot, remote and custom play in other worlds",
        )
    list(run_jobs(len, [], config.runner, config.workers))  # no work: only its checks
    settings: Any = OmegaConf.to_container(config.world)
    chosen: Any = OmegaConf.to_container(config.policy)
    name, policy_settings = split_settings(chosen)
    world = shared_world(settings)
    tasks = world.tasks_of(config.tasks)
    protocol = WorldProtocol(
        settings,
        instructions_of(world, tasks, settings["instruction"]),
        {task: world.task(task).group for task in tasks},
        seeds_of(config.split, config.episodes),
        name,
        policy_settings,
        config.split,
        config.batch,
    )
    make_policy(name, world, **policy_settings)
    return protocol
