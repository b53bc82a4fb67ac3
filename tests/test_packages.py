"""What is in the wheel and beside it: packages, data files, the files that describe the project."""

import glob
import tomllib
from pathlib import Path

import yaml

from lohovla import __version__

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TOOL = SETTINGS["tool"]["setuptools"]


def folders():
    """Folders of the tree that install, by the name of their package."""
    for name, folder in TOOL["package-dir"].items():
        for file in (ROOT / folder).rglob("*"):
            inside = file.parent.relative_to(ROOT / folder)
            linked = folder == "lohovla" and inside.parts and (ROOT / folder / inside.parts[0]).is_symlink()
            if file.is_file() and "__pycache__" not in file.parts and not linked and not file.is_symlink():
                yield ".".join([name, *inside.parts]), file


def test_every_package_is_listed():
    assert {package for package, _ in folders()} <= set(TOOL["packages"]), "pyproject.toml: tool.setuptools.packages"


def test_every_data_file_is_in_the_wheel():
    packed = set()
    for package, patterns in TOOL["package-data"].items():
        top = max((name for name in TOOL["package-dir"] if f"{package}.".startswith(f"{name}.")), key=len)
        folder = ROOT / TOOL["package-dir"][top] / package.removeprefix(top).strip(".").replace(".", "/")
        found = [glob.glob(pattern, root_dir=folder, recursive=True) for pattern in patterns]
        packed |= {folder / name for names in found for name in names}
    assert [str(file) for _, file in folders() if file.suffix != ".py" and file not in packed] == []


def test_the_citation_has_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == SETTINGS["project"]["version"] == __version__


def test_the_workflow_runs_what_ci_runs():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    steps = [step.get("run") for step in workflow["jobs"]["check"]["steps"]]
    assert ".ci/run" in steps
    assert (ROOT / ".ci" / "run").exists()


def test_what_a_container_copies_is_there():
    for file in (ROOT / "docker").glob("*Dockerfile*"):
        lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("COPY ")]
        assert lines
        assert [name for line in lines for name in line[1:-1] if not (ROOT / name).exists()] == [], file.name
        copied = {name for line in lines for name in line[1:-1]}
        assert {*TOOL["package-dir"].values(), "pyproject.toml", "README.md", "LICENSE"} <= copied, file.name


def test_weights_have_a_card():
    for folder in {file.parent for _, file in folders() if file.name == "model.safetensors"}:
        card = (folder / "README.md").read_text(encoding="utf-8")
        assert "What it was trained on" in card
        assert "What it cannot do" in card
