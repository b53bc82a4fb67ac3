"""The tutorial and the pages on one's own things and on installing, typed line by line with smaller numbers."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What takes minutes in earnest; the lines are otherwise those of the page.
SMALLER = (
    (r"\bepisodes=\d+", "episodes=2"),
    (r"\bsteps=\d+", "steps=2"),
    (r"\bbatch_size=\d+", "batch_size=2"),
    (r"^lohovla rollout (?!.*--help).*", r"\g<0> video=false"),
    (r"^lohovla evaluate .*", r"\g<0> videos=0 workers=1"),
    (r"^lohovla collect .*", r"\g<0> workers=1"),
    (r"^lohovla train .*", r"\g<0> cache=cache device=cpu"),
    (r"^lohovla ros .*", r"\g<0> --cfg"),  # there is no robot
)
# Set-up, containers, shells, and pages that stay open: tests of their own look at these.
ELSEWHERE = ("make ", ". .venv", "docker ", "eval ", "lohovla completion", "lohovla view", "pip install build")

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pip") is None or importlib.util.find_spec("setuptools") is None,
    reason="this environment has no pip or no setuptools to install a package with",
)


def lines_of(page):
    """Every line that a page has a person type, in order: those of fenced shell blocks and indented ones."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found, fenced = [], ""
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = "" if fenced else line
        elif fenced == "```sh" or (not fenced and line.startswith("    ")):
            found.append(line.partition(" #")[0].strip())
    return [line for line in found if line and not line.startswith(ELSEWHERE)]


def typed(line, folder):
    """Type a line where ``site`` is what pip installs into."""
    site = folder / "site"
    for pattern, smaller in SMALLER:
        line = re.sub(pattern, smaller, line)
    words = line.split()
    if words[:2] == ["pip", "install"]:
        offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
        command = [sys.executable, "-m", "pip", "install", "-q", *offline, "--target", str(site), f"./{words[-1]}"]
    elif words[0] == "pytest":
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words[1:]]
    else:
        assert words[0] == "lohovla", line
        command = [sys.executable, "-m", "lohovla.cli", *words[1:]]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    answer = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, f"{line}\n{answer.stdout[-2000:]}\n{answer.stderr[-2000:]}"
    return answer.stdout


def test_the_tutorial(tmp_path):
    lines = lines_of("tutorial.md")
    assert len(lines) >= 10
    said = {line: typed(line, tmp_path) for line in lines}
    assert "my-bowl" in next(text for line, text in said.items() if line.startswith("lohovla compare"))
    for made in ("runs/my-bowl/open_loop.png", "runs/my-bowl/held_out.json", "runs/mine/report.html"):
        assert (tmp_path / made).is_file(), made


def test_things_of_ones_own(tmp_path):
    pages = lines_of("extend.md")
    made = [line for line in pages if line.startswith("lohovla new ")]
    assert [line.split()[2] for line in made] == ["task", "policy", "world", "robot"]
    for line in made:
        typed(line, tmp_path)
        typed(f"pip install {line.split()[-1]}", tmp_path)
    # "A module of the working folder" is one of the reader's; the package that was made has it.
    for line in pages:
        if line not in made and "my_policy:make" not in line:
            typed(line, tmp_path)
    typed("lohovla rollout policy=my_policy.policy:make policy.step=0.05 task=A control=pick_place", tmp_path)


def test_a_line_that_is_wrong_is_found(tmp_path):
    with pytest.raises(AssertionError, match="no task"):
        typed("lohovla rollout task=my-bowl control=pick_place", tmp_path)
