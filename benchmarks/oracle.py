"""Success of the oracle on every task: test seeds 10001 + 2k, a process a core.

Episodes are appended to ``episodes.jsonl`` as they end; run again into the same folder, only the missing ones run.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lohovla.benchmarks.report import emit
from lohovla.envs.tasks.names import TASKS
from lohovla.envs.tasks.registry import get_task


def run(
    tasks: Sequence[str] | None, control: str, episodes: int, drop_probability: float, workers: int | None, folder: Path
) -> dict[str, Any]:
    """Run the episodes, write ``table.md`` beside them, print the table and the JSON line."""
    names = [get_task(task).name for task in tasks] if tasks else list(TASKS)
    record = folder / "episodes.jsonl"
    settings = {"control": control, "drop_probability": drop_probability}
    done = {(row["task"], row["seed"]): row for row in _read(record) if row["settings"] == settings}
    wanted = [(name, 10001 + 2 * k) for name in names for k in range(episodes)]
    jobs = [(name, seed, settings) for name, seed in wanted if (name, seed) not in done]
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers or os.cpu_count() or 1) as pool, record.open("a", encoding="utf-8") as file:
        for row in tqdm(
            pool.imap_unordered(_episode, jobs, chunksize=4), total=len(jobs), disable=None, unit="episode"
        ):
            file.write(json.dumps(row) + "\n")
            file.flush()
            done[row["task"], row["seed"]] = row
    rows = [done[key] for key in wanted]
    lines, worst = _table(rows)
    (folder / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    solved = 100 * sum(row["success"] for row in rows) / len(rows)
    return emit(
        "oracle", "success rate over all tasks", solved, "%",
        worst_task=worst, episodes=episodes, tasks=len(names), **settings,
    )  # fmt: skip


def _episode(job: tuple[str, int, dict[str, Any]]) -> dict[str, Any]:
    name, seed, settings = job
    import lohovla.envs  # noqa: F401
    from lohovla.envs.env import BlocksEnv
    from lohovla.evaluate.episode import run_episode
    from lohovla.policies.registry import make_policy

    env = BlocksEnv(task=name, cameras={}, **settings)
    result = run_episode(env, make_policy("oracle", env), seed)
    return {
        "task": name, "seed": seed, "settings": settings, "success": result.success, "score": result.score,
        "reason": result.reason, "drops": result.drops, "subtasks": len(result.subtasks),
        "simulated_seconds": result.simulated_seconds,
    }  # fmt: skip


def _read(record: Path) -> list[dict[str, Any]]:
    """Finished episodes; a line cut short by a kill is left out."""
    rows = []
    if record.exists():
        for line in record.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return rows


def _table(rows: list[dict[str, Any]]) -> tuple[list[str], str]:
    """A Markdown table, and its worst line in words."""
    by_task = defaultdict(list)
    for row in rows:
        by_task[row["task"]].append(row)
    lines = ["| task | solved | mean score | sub-tasks | drops | simulated s |", "|---|---|---|---|---|---|"]
    for name, group in by_task.items():
        n = len(group)
        mean = {key: sum(row[key] for row in group) / n for key in ("score", "subtasks", "drops", "simulated_seconds")}
        solved = sum(row["success"] for row in group)
        lines.append(
            f"| {name} | {solved} / {n} | {mean['score']:.3f} | {mean['subtasks']:.1f} | {mean['drops']:.2f} "
            f"| {mean['simulated_seconds']:.1f} |"
        )
    worst = min(by_task.items(), key=lambda item: sum(row["success"] for row in item[1]) / len(item[1]))
    return lines, f"{worst[0]} {sum(row['success'] for row in worst[1])}/{len(worst[1])}"
