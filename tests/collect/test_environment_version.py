"""A data set says with which version of the environment it was recorded, and one of another version is recognised."""

from __future__ import annotations

import json
import shutil

import pytest

from lohovla.cli import main
from lohovla.collect.collect_dataset import collect
from lohovla.data import dataset_layout
from lohovla.envs.tasks.names import VERSION
from lohovla.errors import UserError

from .conftest import CAMERAS, opened, plan_of


@pytest.fixture
def old(collected, tmp_path):
    """A data set as it was written before versions were."""
    root = tmp_path / "old"
    shutil.copytree(collected, root)
    origin = json.loads((root / dataset_layout.ORIGIN).read_text())
    assert origin.pop("version") == VERSION
    (root / dataset_layout.ORIGIN).write_text(json.dumps(origin))
    return root


def test_a_replay_says_that_a_set_is_of_another_version(old, capsys):
    assert main(["replay", str(old), "episode=all"]) == 2
    cause, remedy = capsys.readouterr().err.splitlines()
    versions = f"version 0 of the environment, and this is version {VERSION}, whose observations differ"
    assert cause.endswith(f"{old} was recorded with {versions}")
    assert "replay it with lohovla " in remedy


def test_nothing_is_added_to_a_set_of_another_version(old):
    before = {path: path.stat().st_mtime_ns for path in old.rglob("*")}
    control = json.loads((old / dataset_layout.ORIGIN).read_text())["env"]["control"]
    with pytest.raises(UserError, match="version 0 of the environment"):
        collect(plan_of(old, episodes=9, env={"control": control, "cameras": CAMERAS}))
    assert {path: path.stat().st_mtime_ns for path in old.rglob("*")} == before


def test_it_is_read_for_training_and_checked_as_before(old, tmp_path):
    assert opened(old, tmp_path / "cache").episode(0, held_out=False)["subtask"][0]
    assert main(["data", "check", str(old)]) == 0
