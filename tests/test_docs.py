"""What the documents show works: their Python runs, their command lines are understood, their links lead somewhere."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lohovla.settings.hydra_config import compose, root_of
from lohovla.subcommands import SUBCOMMANDS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found += [
            (page.name, block) for block in re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        ]
    return found


def command_lines() -> list[str]:
    """Every `lohovla ...` of the documents and of the commands' own help.

    Indented ones on things of a reader's own (`my-...`) are typed in tests/test_walkthrough.py.
    """
    lines = [line for _, block in blocks("sh") + blocks("") for line in block.splitlines()]
    for page in PAGES:
        indented = re.findall(r"^    (lohovla .*)", page.read_text(encoding="utf-8"), re.MULTILINE)
        lines += [line for line in indented if "my-" not in line and "my_policy" not in line and "|" not in line]
    lines += [example for command in SUBCOMMANDS.values() for example in command.examples]
    return sorted({line.partition(" #")[0].strip() for line in lines if line.startswith("lohovla ")})


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with the data set that the pages speak of."""
    folder = tmp_path_factory.mktemp("reader")
    collect = ["collect", "task=[B,E]", "episodes=1", "control=pick_place", "dataset=demos/mixed", "workers=1"]
    subprocess.run([sys.executable, "-m", "lohovla.cli", *collect], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize(("page", "code"), blocks("python"), ids=lambda value: value[:24])
def test_python_runs(page, code, workplace):
    answer = subprocess.run([sys.executable, "-c", guarded(code)], cwd=workplace, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


def test_the_first_python_of_a_reader_runs_in_one_interpreter():
    """As the cells of a notebook: the README's draws, the next page's loads a model."""
    cells = [next(code for name, code in blocks("python") if name == page) for page in ("README.md", "d2f.md")]
    lines = ["import code", "cells = code.InteractiveInterpreter()"]
    lines += [f"cells.runsource({cell!r}, symbol='exec')" for cell in cells]
    script = "\n".join(lines)
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert "Traceback" not in answer.stderr, answer.stderr
    assert answer.stdout.startswith("Put the blocks in the bowls with matching colors.")
    assert "6889" in answer.stdout


def guarded(code: str) -> str:
    """The code as a script that worker processes can import."""
    return "if __name__ == '__main__':\n" + "\n".join(f"    {line}" for line in code.splitlines())


@pytest.mark.parametrize("line", command_lines())
def test_command_lines_are_understood(line):
    _, name, *words = shlex.split(line)
    if name in ("--help", "--version") or "--help" in words:
        return
    assert name in SUBCOMMANDS
    compose(root_of(name, words), words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_site_is_built_by_lint_and_lists_every_page():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:")[2]
    listed = set(re.findall(r"([\w-]+\.md)", nav))
    assert listed == {page.name for page in PAGES[1:]}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^lint:.* docs$", makefile, re.MULTILINE)
    assert "mkdocs build --strict" in makefile


def test_the_page_of_commands_names_each():
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert [name for name in SUBCOMMANDS if f"`{name}`" not in page] == []
