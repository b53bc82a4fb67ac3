"""``lohovla evaluate planner=symbolic``: a checkpoint's planning, without pictures and without physics."""

from __future__ import annotations

import json
import sys
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lohovla.errors import UserError
from lohovla.output_folder import disk_errors, write_atomically
from lohovla.progress import progress
from lohovla.settings.hydra_config import results_folder

PLANNERS = ("symbolic",)


def run_planner(config: DictConfig) -> int:
    """Measure row after row; write ``planning.json``, ``planning.md`` and ``planning.jsonl`` (what was said)."""
    from lohovla.collect.rendered_scenes import scene_env
    from lohovla.envs.tasks.names import VERSION
    from lohovla.envs.tasks.registry import get_task
    from lohovla.evaluate.protocol import seeds_of, tasks_of
    from lohovla.evaluate.report.result_table import markdown
    from lohovla.evaluate.symbolic_planner import SymbolicPlanner
    from lohovla.evaluate.symbolic_planning import COMPOSED_ROWS, measure_planning
    from lohovla.model.checkpoint import load_checkpoint

    if config.planner not in PLANNERS:
        raise UserError(f"planner cannot be {config.planner!r}", "planner=symbolic, or leave it out")
    policy: Any = OmegaConf.to_container(config.policy)
    if policy["name"] not in ("oracle", "lohovla"):
        raise UserError(f"{policy['name']} does not plan in words", "use policy=lohovla, or leave it out")
    names = tasks_of(config.suite, config.tasks)
    seeds = seeds_of(config.split, config.episodes)
    rows = {name: " ".join(filter(None, (get_task(name).letter, name))) for name in names}
    rows |= {} if config.tasks is not None else COMPOSED_ROWS
    model, processor = load_checkpoint(policy.get("checkpoint"), policy.get("device", "cpu"))
    state = scene_env(names[0]).reset(seed=0)[0]["state"]
    planner = SymbolicPlanner(model.eval(), processor, state, policy.get("grammar", "scene"))
    folder = results_folder(config, "evaluate", {"environment": VERSION})
    print(f"results go to {folder}", file=sys.stderr)
    found, said = [], []
    understand = planner.understand if planner.writes_meanings else None
    played = measure_planning(planner.say, rows, seeds, config.reading, reads=planner.reads, understand=understand)
    for row, episodes in progress(played, total=len(rows), desc="planning", leave=False):
        found.append(row)
        said += [_spoken(row.name, episode) for episode in episodes]
    table = markdown(
        ["", "solved", "95 % interval", "score", "problems", "too long", "meaning"],
        [
            [
                row.name,
                f"{100 * row.successes / row.episodes:.1f} %",
                "{:.0f}-{:.0f}".format(*(100 * end for end in row.interval)),
                f"{100 * row.score:.1f}",
                str(row.episodes),
                str(row.unread),
                "" if row.understood is None else f"{100 * row.understood / row.episodes:.1f} %",
            ]
            for row in found
        ],
    )
    numbers = [{**vars(row), "interval": row.interval} for row in found]
    with disk_errors(folder, "run it again"):
        write_atomically(folder / "planning.md", table.encode())
        write_atomically(folder / "planning.json", json.dumps(numbers, indent=2).encode())
        write_atomically(folder / "planning.jsonl", "".join(json.dumps(line) + "\n" for line in said).encode())
    print(table)
    return 0


def _spoken(row: str, episode: Any) -> dict[str, Any]:
    """An episode as a line of ``planning.jsonl``."""
    problem = episode.problem
    return {
        "row": row,
        "seed": episode.seed,
        "instruction": problem.instruction,
        "meaning": str(problem.meaning or ""),
        "understood": episode.understood,
        "said": episode.said,
        "score": episode.score,
        "success": episode.success,
    }
