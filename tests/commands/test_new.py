"""Packages made by ``lohovla new``, installed by pip and used through the public command."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from lohovla.cli import main

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pip") is None or importlib.util.find_spec("setuptools") is None,
    reason="this environment has no pip or no setuptools to install a package with",
)

NAMES = {"task": "my-bowl-task", "policy": "my-steps-policy", "robot": "my-slow-arm", "world": "my-dot-world"}


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A folder with a package of each kind, and ``site``, where pip has put them."""
    folder = tmp_path_factory.mktemp("own")
    for what, name in NAMES.items():
        assert main(["new", what, name, f"folder={folder / name}"]) == 0
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", "-q", *offline, "--target", folder / "site"]
    subprocess.run([*command, *(folder / name for name in NAMES.values())], check=True)
    return folder


@pytest.fixture
def here(packages, monkeypatch):
    """Lets this process find the packages."""
    monkeypatch.syspath_prepend(packages / "site")


def in_place(packages, *arguments):
    """Run Python where the packages are installed."""
    environment = {**os.environ, "PYTHONPATH": str(packages / "site")}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=packages, env=environment)


def lohovla(packages, *words):
    return in_place(packages, "-m", "lohovla.cli", *words)


def test_their_own_tests_pass(packages):
    folders = [packages / name / "tests" for name in NAMES.values()]
    answer = in_place(packages, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", *folders)
    assert answer.returncode == 0, answer.stdout
    assert "9 passed" in answer.stdout


def test_the_task_and_the_policy_are_evaluated(packages):
    words = ["policy=my-steps-policy", "policy.step=0.2", "episodes=2", "videos=1", "workers=2", "output=runs/both"]
    answer = lohovla(packages, "evaluate", "tasks=[my-bowl-task]", "control=pick_place", *words)
    assert answer.returncode == 0, answer.stderr
    folder = packages / "runs" / "both"
    rows = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    assert [(row["task"], row["seed"]) for row in rows] == [("my-bowl-task", 10001), ("my-bowl-task", 10003)]
    assert rows[0]["instruction"].startswith("Put the ")
    assert rows[0]["subtasks"][0]["text"] == "Try something."
    assert (folder / "report.html").exists()
    assert len(list((folder / "videos").iterdir())) == 1


def test_the_world_is_evaluated_and_recorded(packages):
    words = ["world=my-dot-world", "episodes=2", "videos=1", "workers=1", "output=runs/dot"]
    answer = lohovla(packages, "evaluate", "policy=expert", *words)
    assert answer.returncode == 0, answer.stderr
    rows = [json.loads(line) for line in (packages / "runs" / "dot" / "episodes.jsonl").read_text().splitlines()]
    assert [(row["task"], row["success"]) for row in rows] == [("mark", True), ("mark", True)]
    words = ["world=my-dot-world", "policy=expert", "task=[mark]", "episodes=2", "workers=1", "dataset=demos/dot"]
    answer = lohovla(packages, "collect", *words)
    assert answer.returncode == 0, answer.stderr
    assert lohovla(packages, "data", "check", "demos/dot").returncode == 0


def test_a_policy_is_named_by_its_module(here, tmp_path):
    words = ["policy=my_steps_policy.policy:make", "policy.step=0.2", "task=my-bowl-task", "control=pick_place"]
    assert main(["rollout", *words, "video=false", f"output={tmp_path}"]) == 0
    episode = json.loads((tmp_path / "result.json").read_text())["episodes"][0]
    assert episode["subtasks"][0]["text"] == "Try something."


def test_demonstrations_of_the_task_are_recorded_and_replayed(here, tmp_path):
    words = ["task=my-bowl-task", "control=pick_place", "episodes=1", f"dataset={tmp_path / 'mine'}", "workers=1"]
    assert main(["collect", *words]) == 0
    assert main(["replay", str(tmp_path / "mine"), "episode=all"]) == 0


def test_gymnasium_knows_it(packages):
    make = "import gymnasium, lohovla.envs; print(gymnasium.make('lohovla/MyBowlTask-v1').unwrapped.task.name)"
    assert in_place(packages, "-c", make).stdout.strip() == "my-bowl-task"


def test_the_list_of_tasks_has_it(here, capsys):
    assert main(["tasks"]) == 0
    listed = capsys.readouterr().out.partition("Tasks of other packages\n")[2]
    assert listed.split()[:3] == ["my-bowl-task", "Put", "the"]


@pytest.mark.parametrize(
    ("words", "cause", "remedy"),
    [
        (["rollout", "policy=my-steps-polcy"], "no policy 'my-steps-polcy'", "other packages my-steps-policy"),
        (["rollout", "policy=my_steps_policy.policy:mak"], "no attribute 'mak'", "this folder or an installed package"),
        (["rollout", "policy=my-steps-policy", "policy.stpe=3"], "no setting 'policy.stpe'", "policy.step"),
        (["rollout", "policy=my-steps-policy", "policy.step=big"], "policy.step cannot be 'big'", "default is 0.1"),
        (["rollout", "task=my-bowl-tsk"], "no task 'my-bowl-tsk'", "my-bowl-task"),
        (["evaluate", "world=my-dot-wold"], "no world 'my-dot-wold'", "pusht, and of other packages my-dot-world"),
        (["ros", "robot=my-slow-am"], "no robot 'my-slow-am'", "ur5e, and of other packages my-slow-arm"),
        (["new", "task", "my-bowl-task", "folder=other"], "'my-bowl-task' already", "my-my-bowl-task"),
    ],
)
def test_what_is_installed_is_listed_for_an_unknown_name(here, words, cause, remedy, capsys):
    assert main(words) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert cause in first
    assert remedy in second


def test_help_shows_the_settings_of_the_function(here, capsys):
    assert main(["rollout", "policy=my-steps-policy", "--help"]) == 0
    text = capsys.readouterr().out
    assert "policy.step=0.1  " in text
    assert "policy=my-steps-policy; or " in text


@pytest.mark.parametrize(
    ("words", "cause", "remedy"),
    [
        ([], "nothing is named", "lohovla new policy NAME"),
        (["taks", "mine"], "no template 'taks'", "lohovla new policy NAME, and likewise task"),
        (["task"], "no name", "lohovla new task my-task"),
        (["task", "My Task!"], "is not a valid name of a task", "lohovla new task my-task"),
        (["policy", "json"], "package 'json' already", "lohovla new policy my-json"),
        (["policy", "oracle"], "'oracle' already", "lohovla new policy my-oracle"),
        (["world", "metaworld"], "'metaworld' already", "lohovla new world my-metaworld"),
        (["robot", "ur5e"], "'ur5e' already", "lohovla new robot my-ur5e"),
        (["task", "mine", "folder=full"], "full is there already", "folder=FOLDER"),
    ],
)
def test_what_cannot_be_made_is_refused(words, cause, remedy, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert main(["new", *words]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert cause in first
    assert remedy in second
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
