"""Ablations of the policy: one thing changed at a time, the same episodes for all, in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lohovla.benchmarks.bench_utils import emit
from lohovla.envs.tasks.registry import get_task
from lohovla.errors import UserError
from lohovla.evaluate import failure_analysis
from lohovla.evaluate.protocol import Protocol, seeds_of, tasks_named
from lohovla.evaluate.report import result_table
from lohovla.evaluate.run_evaluation import evaluate

_NOISE = {"color": 4.0, "depth": 0.002, "camera_position": 0.002, "camera_rotation": 0.004, "light": 0.15}
_BATCH = 10
_DISTURBED = {"drop_probability": 0.1, "noise": _NOISE}


@dataclass(frozen=True)
class Ablation:
    """What differs from the policy as it ships.

    Attributes:
        title: for the table.
        policy: its rules; with a ``factory``, settings of the custom policy that it makes.
        env: the world's settings.
    """

    title: str
    policy: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, Any] = field(default_factory=dict)


ABLATIONS = {
    "shipped": Ablation("as shipped"),
    "none": Ablation("no sub-tasks: the goal alone", {"subtasks": "none"}),
    "image": Ablation("sub-tasks as painted pictures", {"subtasks": "image"}),
    "image-true": Ablation(
        "sub-tasks as true pictures",
        {"factory": "lohovla.evaluate.subgoal.oracle_subgoals:true_pictures", "subtasks": "image"},
    ),
    "image-shuffled": Ablation(
        "sub-tasks as another scene's pictures",
        {"factory": "lohovla.evaluate.subgoal.oracle_subgoals:shuffled_pictures", "subtasks": "image"},
    ),
    "both": Ablation("sub-tasks as words and pictures", {"subtasks": "text+image"}),
    "d2f": Ablation("planned by block diffusion", {"planner": "d2f"}),
    "anything": Ablation("any sub-task may be said", {"grammar": "all"}),
    "progress": Ablation("progress from the model, not from the reward", {"progress": "model"}),
    "never": Ablation("rule (a): never another sub-task", {"replan": "never"}),
    "always": Ablation("rule (b): another after each failure", {"replan": "always"}),
    "words": Ablation("goals in other words", {}, {"paraphrase": True}),
    "colors": Ablation("the colours of evaluation alone", {}, {"colors": "eval"}),
    "disturbed": Ablation("drops and noise, rule (c)", {}, _DISTURBED),
    "disturbed-never": Ablation("drops and noise, rule (a)", {"replan": "never"}, _DISTURBED),
    "disturbed-always": Ablation("drops and noise, rule (b)", {"replan": "always"}, _DISTURBED),
    "steps-1": Ablation("1 denoising step", {"num_inference_steps": 1}),
    "steps-2": Ablation("2 denoising steps", {"num_inference_steps": 2}),
    "steps-10": Ablation("10 denoising steps", {"num_inference_steps": 10}),
}


def run(
    folder: Path,
    checkpoint: str | None,
    tasks: Sequence[str],
    episodes: int,
    env: Mapping[str, Any],
    ablations: Sequence[str] | None,
    workers: int | None,
) -> dict[str, Any]:
    """Play ``episodes`` test seeds of each task under each ablation; taken up again in the same ``folder``.

    Raises:
        UserError: there is no such task or ablation.
    """
    if unknown := set(ablations or ()) - set(ABLATIONS):
        raise UserError(f"there is no ablation {sorted(unknown)[0]!r}", f"choose one of {', '.join(ABLATIONS)}")
    names, seeds = tasks_named(tasks), seeds_of("test", episodes)
    letters = [get_task(name).letter or name for name in names]
    print(f"| | {' | '.join(letters)} | all | 95 % interval | plans right | progress right |")
    print("|---|" + "---|" * (len(names) + 4))
    figures = {}
    for name in ablations or ABLATIONS:
        ablation = ABLATIONS[name]
        settings = {"checkpoint": checkpoint, **ablation.policy}
        policy = "custom" if "factory" in settings else "lohovla"
        protocol = Protocol(names, seeds, policy, {**env, **ablation.env}, policy_settings=settings, diagnose=True)
        part = folder / name
        part.mkdir(parents=True, exist_ok=True)
        rows, _ = evaluate(protocol, part, workers=workers, batch=_BATCH)
        results, found = (
            result_table.results_of(rows),
            failure_analysis.summarize_diagnoses(row["diagnosis"] for row in rows),
        )
        each = [result_table.percent(one.rate) for one in (*results.tasks.values(), results.overall)]
        judged = ["-" if (share := found.get(key)) is None else f"{100 * share:.0f} %" for key in ("right", "progress")]
        print(
            f"| {' | '.join([ablation.title, *each, result_table.success_interval(results.overall), *judged])} |",
            flush=True,
        )
        rates = {task: one.rate for task, one in results.tasks.items()}
        figures[name] = {"success": results.overall.rate, "right": found.get("right"), **rates}
    first = next(iter(figures))
    return emit(
        "policy",
        f"success of the policy, {first}",
        figures[first]["success"],
        "",
        tasks=list(names),
        episodes=episodes,
        control=env["control"],
        figures=figures,
    )
