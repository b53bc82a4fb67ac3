"""Evaluations and hand-made records that several tests share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lohovla.evaluate.protocol import Protocol, seeds_of

TASKS = ("pick-and-place-primitive", "put-block-into-matching-bowl")


@pytest.fixture(scope="session")
def protocol():
    """Two tasks, five episodes each, with drops: some of them fail."""
    env = {"control": "pick_place", "cameras": {}, "drop_probability": 0.6}
    return Protocol(TASKS, seeds_of("test", 5), "oracle", env)


@pytest.fixture
def row():
    """Makes an episode's record by hand."""

    def make(task=TASKS[0], seed=10001, success=True, **more):
        return {
            "task": task,
            "seed": seed,
            "instruction": "Put it there.",
            "success": success,
            "score": 1.0 if success else 0.5,
            "reason": "success" if success else "action limit",
            "steps": 2,
            "actions": 2,
            "drops": 0,
            "clamped": 0,
            "simulated_seconds": 4.0,
            "missing": "",
            "outcomes": {},
            "scores": [[0, 0.0, 0.0], [2, 4.0, 1.0 if success else 0.5]],
            "subtasks": [{"time": 0.0, "text": "Pick it up.", "score": 0.0}],
            "failure": "" if success else "no luck",
            **more,
        }

    return make


@pytest.fixture
def write_run():
    """Writes records as an evaluation's folder."""

    def write(folder: Path, rows, settings=None):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if settings is not None:
            (folder / "config.yaml").write_text(json.dumps({"settings": settings}))
        return folder

    return write
