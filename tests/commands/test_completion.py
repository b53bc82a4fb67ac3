"""Completion of the command line, as shells ask for it."""

import os
import shutil
import subprocess
import sys

import pytest

from lohovla.cli import main
from lohovla.commands.completion import completions
from lohovla.subcommands import SUBCOMMANDS


@pytest.mark.parametrize(
    ("words", "among"),
    [
        ([""], {"rollout", "evaluate", "new", "help"}),
        (["ro"], {"rollout", "ros", "ros-sim", "ros-guard"}),
        (["help", "eva"], {"evaluate"}),
        (["rollout", "pol"], {"policy="}),
        (["rollout", "policy=o"], {"policy=oracle"}),
        (["rollout", "policy=lohovla", "policy.rep"], {"policy.replan="}),
        (["evaluate", "task"], {"tasks="}),
        (["rollout", "task=stack-all"], {"task=stack-all-blocks-on-a-zone"}),
        (["train", "dataset=a", "recipe.model.normalization=m"], {"recipe.model.normalization=mean_std"}),
        (["rollout", "video="], {"video=true", "video=false"}),
        (["rollout", "--c"], {"--cfg"}),
        (["rollout", "policy=nonsense", "see"], {"seed="}),
        (["nonsense", "a"], set()),
    ],
)
def test_candidates(words, among):
    found = completions(words, SUBCOMMANDS)
    assert among <= set(found)
    assert all(one.startswith(words[-1]) for one in found)


def complete_in_bash(line, tmp_path, capsys):
    """What bash would put in the place of the line's last word."""
    assert main(["completion", "bash"]) == 0
    program = tmp_path / "lohovla"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m lohovla.cli "$@"\n')
    program.chmod(0o755)
    ask = f'COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}; _lohovla 2>/dev/null; printf "%s\\n" "${{COMPREPLY[@]}}"'
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = f"{capsys.readouterr().out}\n{ask}"
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment).stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes_after_an_equals_sign(tmp_path, capsys):
    assert complete_in_bash("lohovla rollout policy=ora", tmp_path, capsys) == ["oracle"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes_commands(tmp_path, capsys):
    assert complete_in_bash("lohovla evalu", tmp_path, capsys) == ["evaluate"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script_that_they_can_read(shell, tmp_path, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "lohovla --complete" in script
    if shutil.which(shell):
        (tmp_path / "script").write_text(script)
        assert subprocess.run([shell, "-n", tmp_path / "script"]).returncode == 0


def test_an_unknown_shell_is_refused(capsys):
    assert main(["completion", "tcsh"]) == 2
    assert "bash, zsh or fish" in capsys.readouterr().err
