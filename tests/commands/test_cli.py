"""The command line as a person uses it: results where it says, errors in two lines, nothing heavy for help."""

import ctypes.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from lohovla.cli import EXTRAS, main
from lohovla.settings.hydra_config import compose
from lohovla.subcommands import SUBCOMMANDS


def run(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "lohovla.cli", *arguments], capture_output=True, text=True, **options)


def test_help_is_light():
    heavy = ("numpy", "mujoco", "hydra", "gymnasium", "torch")
    code = f"import sys, lohovla.cli as c; c.main(['--help']); print([m for m in {heavy} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip().endswith("[]")
    assert all(name in answer.stdout for name in SUBCOMMANDS)


@pytest.mark.parametrize("command", SUBCOMMANDS)
def test_each_command_has_help_with_examples_and_settings(command, capsys):
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"lohovla {command}" in text
    assert "Settings and their defaults" in text


@pytest.mark.parametrize(
    ("arguments", "cause", "remedy"),
    [
        (["rolout"], "no command 'rolout'", "`lohovla rollout`"),
        (["rollout", "task=stack-blocks-of-same-colour"], "no task", "stack-blocks-of-same-color"),
        (["rollout", "policy=orcale"], "no policy 'orcale'", "oracle"),
        (["rollout", "polcy=oracle"], "no setting 'polcy'", "policy"),
        (["rollout", "env.noise.colour=3"], "no setting 'env.noise.colour'", "env.noise.color"),
        (["rollout", "env=distrubed"], "no env 'distrubed'", "disturbed"),
        (["rollout", "task"], "'task' is not a setting", "key=value"),
        (["rollout", "seed=abc"], "seed cannot be 'abc'", "a whole number"),
        (["rollout", "episodes=0"], "at least 1", "episodes=1"),
        (["rollout", "control=joints"], "control cannot be 'joints'", "ee, pick_place"),
        (["rollout", "env.gripper=hand"], "gripper cannot be 'hand'", "suction, jaw"),
        (["rollout", "env.colors=red"], "colors cannot be 'red'", "train, eval, all"),
        (["rollout", "env.drop_probability=2"], "drop_probability", "held block"),
        (["rollout", "env.noise.depth=-0.1"], "noise.depth cannot be -0.1", "standard deviation"),
        (["rollout", "env.cameras.top.width=5000"], "5000 x 160", "1280 x 960"),
        (["rollout", "env.top_source=guess"], "no top_source 'guess'", "orthographic, fused"),
        (["bench", "sims"], "no benchmark 'sims'", "lohovla bench sim"),
        (["bench", "sim", "seconds=0"], "seconds must be above 0", "seconds=6"),
        (["bench", "sim", "fast"], "'fast' is not a setting", "key=value"),
        (["bench", "evaluate", "workers=1"], "nothing to compare", "workers=2"),
        (["bench", "evaluate", "rounds=0"], "rounds must be at least 1", "rounds=3"),
        (["tasks", "pictures=true", "docs=/nowhere"], "no folder /nowhere", "docs=FOLDER"),
        (["rollout", "seed=-1"], "seed must be at least 0, not -1", "seed=10001"),
        (["preview-plan", "seed=-1"], "seed must be at least 0, not -1", "seed=10001"),
        (["collect", "dataset=demos", "seed=-1"], "seed must be at least 0, not -1", "seed=0"),
        (["rollout", "env.noise=3"], "env.noise cannot be 3", "env.noise.color=0.0"),
        (["rollout", "env.noise={foo: 1}"], "no setting 'env.noise.foo'", "--help"),
        (["rollout", "env.cameras=3"], "env.cameras cannot be 3", "env.cameras.top=..."),
        (["collect", "dataset=demos", "disturb=3"], "disturb cannot be 3", "disturb.probability=0.0"),
        (["rollout", "fps=1e400"], "fps cannot be inf", "a whole number"),
        (["rollout", "loop.delay.plan=nan"], "loop.delay.plan cannot be nan", "a number"),
        (["rollout", "policy=null"], "no policy 'null'", "leave policy=null out"),
        (["rollout", "+foo=1"], "no setting 'foo'", "did you mean"),
        (["rollout", "+seed=1"], "neither added nor removed", "seed=1"),
        (["rollout", "~seed"], "neither added nor removed", "seed=10001"),
        (["rollout", "policy@env=oracle"], "no setting 'policy@env'", "policy"),
        (
            ["train", "+recipe.stages.detector.rate=1"],
            "no setting 'recipe.stages.detector.rate'",
            "recipe.stages.detector",
        ),
        (["train", "+recipe.model.stem=1"], "the model has no setting 'stem'", "recipe.model.stem_dim"),
        (["rollout", "policy=custom", "policy.size=3"], "no setting 'policy.size'", "+policy.size=3"),
        (["evaluate", "tasks=[B]", "suite=foo"], "no suite 'foo'", "lohoravens"),
        (["generate", "1+1=", "device=foo"], "device cannot be 'foo'", "device=cpu"),
        (["preview-plan", "device=-1"], "device cannot be '-1'", "device=cpu"),
        (["distill", "device=foo"], "device cannot be 'foo'", "device=cpu"),
        (["ros", "goal=[red]"], "goal cannot be [red]", """'goal="[red]"'"""),
        (["generate", "n=3; what is n?"], "n cannot be '3; what is n?'", """'prompt="n=3; what is n?"'"""),
        (["generate", "exmaple=open-plan"], "no setting 'exmaple'", "example"),
        (
            ["imagine", "task=E"],
            "`lohovla imagine` is called `lohovla preview-plan` now",
            "lohovla preview-plan --help",
        ),
        (["rollout", "loop.join=sync"], "loop.join is called loop.chunking_mode now", "loop.chunking_mode=..."),
        (["rollout", "loop.safety={late: 1}"], "safety.late is called loop.safety.clock_jump_threshold now", "write"),
        (["demo", "+policy.steps=2"], "policy.steps is called policy.num_inference_steps now", "write"),
        (["rollout", "policy=custom", "policy.steps=3"], "no setting 'policy.steps'", "+policy.steps=3"),
        (["help", "evalute"], "no command 'evalute'", "lohovla evaluate"),
    ],
)
def test_bad_input_gets_a_cause_and_a_remedy_and_exit_code_2(arguments, cause, remedy, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert cause in first
    assert remedy in second
    assert list(tmp_path.iterdir()) == []  # nothing half-written


def test_help_shows_the_groups_that_are_chosen(capsys):
    assert main(["evaluate", "policy=lohovla", "--help"]) == 0
    assert "policy.replan=after_k_failures" in capsys.readouterr().out
    assert main(["help", "evaluate"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("lohovla evaluate:")
    assert "suite=lohoravens" in text
    assert "replan" not in text


def test_help_says_what_each_setting_means(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["rollout", "env=disturbed", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  env.noise.depth=0.002               m" in lines  # the comment of the file that it differs from
    assert "  env.control_hz=20                   a number" in lines  # no comment: what it takes
    assert any(line.startswith("env=disturbed; or bare, default.") for line in lines)
    assert max(map(len, lines)) <= 100
    assert main(["train", "dataset=a", "--help"]) == 0
    assert "recipe.model.normalization=mean_std" in capsys.readouterr().out


@pytest.mark.parametrize("command", SUBCOMMANDS)
def test_every_setting_has_a_meaning(command, capsys):
    assert main([command, "--help"]) == 0
    settings = re.findall(r"^  ([\w.-]+=.*)$", capsys.readouterr().out, re.MULTILINE)
    bare = [line for line in settings if re.search(r"^\S+$", line) and not line.endswith(("{}", "[]"))]
    assert len(bare) <= len(settings) // 4, bare


def test_cfg_prints_the_configuration_and_runs_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["evaluate", "policy=lohovla", "policy.n_action_steps=3", "tasks=[B]", "--cfg"]
    assert main(words) == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["policy"]["n_action_steps"] == 3
    assert config["tasks"] == ["B"]
    assert config["env"]["control_hz"] == 20
    assert list(tmp_path.iterdir()) == []
    assert main(["evaluate", "plicy=lohovla", "--cfg"]) == 2
    assert "did you mean policy" in capsys.readouterr().err


def test_each_package_of_an_extra_is_known_by_its_import():
    pyproject = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    imported = {
        "ros-jazzy-rclpy": "rclpy",
        "rerun-sdk": "rerun",
        "mujoco-menagerie": "mujoco_menagerie",
        "gym-pusht": "gym_pusht",
    }
    wanted = {}
    for extra, packages in pyproject["project"]["optional-dependencies"].items():
        for package in packages if extra != "dev" else []:
            name = re.match(r"[\w-]+", package)[0]
            if extra == "ros2" and name != "ros-jazzy-rclpy":
                continue  # message packages, which come with it
            wanted.setdefault(imported.get(name, name), set()).add(extra)
    assert wanted.keys() == EXTRAS.keys()
    assert all(EXTRAS[name] in extras for name, extras in wanted.items())


@pytest.mark.parametrize("what", ["serve", "serve-text"])
def test_a_benchmark_without_its_extra_says_what_to_install(what, tmp_path):
    code = (
        "import sys\n"
        "for name in ('websockets', 'fastapi', 'msgpack'): sys.modules[name] = None\n"
        f"from lohovla.cli import main; raise SystemExit(main(['bench', '{what}']))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert answer.returncode == 2, answer.stderr
    cause, remedy = answer.stderr.splitlines()
    assert f"`lohovla bench {what}` needs " in cause
    assert "pip install 'lohovla[serve]'" in remedy


def test_without_opengl_it_says_what_to_install(tmp_path):
    backend = "egl" if ctypes.util.find_library("EGL") else "osmesa"
    code = (
        f"import mujoco.{backend}\n"
        "def broken(*size): raise RuntimeError('no display driver')\n"
        f"mujoco.{backend}.GLContext = broken\n"
        "from lohovla.cli import main; raise SystemExit(main(['rollout', 'video=false']))"
    )
    environment = {**os.environ, "MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend}
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False, env=environment
    )
    assert answer.returncode == 2
    cause, remedy = answer.stderr.splitlines()
    assert f"no OpenGL to render with ({backend}: no display driver)" in cause
    assert "apt-get install -y libegl1" in remedy


def test_rollout_leaves_a_result_a_film_a_sheet_and_its_settings(tmp_path):
    answer = run("rollout", "task=A", "control=pick_place", "fps=4", f"output={tmp_path}", check=True)
    assert re.search(r"0\.00 s  score 0\.00  Pick up the .* block and place it ", answer.stdout)
    assert "1 of 1 solved" in answer.stdout
    record = json.loads((tmp_path / "result.json").read_text())
    assert record["success_rate"] == 1.0
    assert record["episodes"][0]["seed"] == 10001
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert config["settings"]["task"] == "A"
    assert config["settings"]["env"]["control"] == "pick_place"
    assert config["version"]
    assert (tmp_path / "video.mp4").stat().st_size > 5000
    assert (tmp_path / "sheet.png").stat().st_size > 5000


def test_episodes_have_every_other_seed(tmp_path):
    run("rollout", "task=A", "control=pick_place", "video=false", "episodes=3", f"output={tmp_path}", check=True)
    record = json.loads((tmp_path / "result.json").read_text())
    assert [episode["seed"] for episode in record["episodes"]] == [10001, 10003, 10005]


def test_a_reader_that_stops_early_is_no_error():
    process = subprocess.Popen(
        [sys.executable, "-m", "lohovla.cli", "tasks"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 0


def test_tasks_lists_them_and_writes_their_page(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lohovla.commands.tasks.TASKS", ("pick-and-place-primitive", "stack-blocks-of-same-color"))
    assert main(["tasks", "pictures=true", f"docs={tmp_path}"]) == 0
    listed = capsys.readouterr().out
    assert "K  stack-blocks-of-same-color" in listed
    assert "handwritten-goals" in listed
    page = (tmp_path / "tasks.md").read_text()
    assert "lohovla/StackBlocksOfSameColor-v1" in page
    assert "1. Pick up the " in page
    (tmp_path / "tasks.md").write_text(page + "\n## Goals as data\n\nBy hand.\n")
    assert main(["tasks", "pictures=true", f"docs={tmp_path}"]) == 0
    assert (tmp_path / "tasks.md").read_text() == page + "\n## Goals as data\n\nBy hand.\n"
    for name in re.findall(r"\((images/.*?)\)", page):
        assert (tmp_path / name).stat().st_size > 2000


def test_bench_sim_prints_json_last(tmp_path):
    answer = run("bench", "sim", "seconds=0.3", "workers=1", f"output={tmp_path}", check=True)
    record = json.loads(answer.stdout.splitlines()[-1])
    assert record["name"] == "sim"
    assert {"device", "metric", "value", "unit", "floor", "ratio", "workers", "task"} <= record.keys()
    assert record["figures"]["ee without cameras"]["rate"] > record["figures"]["ee with cameras"]["rate"]
    assert json.loads((tmp_path / "result.json").read_text()) == record


@pytest.mark.parametrize("command", ["rollout", "demo", "evaluate", "collect", "bench", "serve"])
def test_every_command_that_plays_takes_any_policy_with_its_settings(command):
    config = compose(command, ["policy=remote", "policy.timeout=3.0"])
    assert (config.policy.name, config.policy.timeout) == ("remote", 3.0)
