"""``lohovla new``: a small installable package with a policy, a task, a world or a robot profile of one's own."""

from __future__ import annotations

import importlib.util
import keyword
import re
import shutil
import sys
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from omegaconf import DictConfig

from lohovla.errors import UserError
from lohovla.extensions import GROUPS

# What is made, and what its entry point names.
_OBJECTS = {"policy": "make", "task": "{class_name}", "world": "WORLD", "robot": "PROFILE"}


def run(config: DictConfig) -> int:
    """Write the package and say what to do next."""
    from lohovla.envs.tasks.names import gym_name

    what, name = config.what, config.name
    if what not in _OBJECTS:
        raise UserError(
            f"there is no template {what!r}" if what else "nothing is named",
            "lohovla new policy NAME, and likewise task, world and robot",
        )
    _check_name(what, name)
    folder = Path(config.folder or name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already", "choose another folder=FOLDER, or remove it")
    class_name = "".join(part.capitalize() for part in name.split("-"))
    words = {
        "name": name,
        "what": {"robot": "robot profile"}.get(what, what),
        "package": name.replace("-", "_"),
        "class_name": class_name,
        "object": _OBJECTS[what].format(class_name=class_name),
        "group": GROUPS[what].removeprefix("lohovla."),
        "gym_name": gym_name(name),
    }
    templates = resources.files("lohovla.commands").joinpath("templates")
    try:
        for template in [*templates.iterdir(), *templates.joinpath(what).iterdir()]:
            if template.name.endswith(".tmpl"):
                _write(template, _place(folder, template.name.removesuffix(".tmpl"), words["package"]), words)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}", "choose another folder=FOLDER") from None
    print(f"wrote {folder}, a package with the {words['what']} {name} and its test. Next:\n\n  cd {folder}")
    installer = "pip" if shutil.which("pip") else f"{sys.executable} -m pip"
    print(f"  {installer} install --no-build-isolation -e .\n  pytest\n\n{folder / 'README.md'} goes on.")
    return 0


def _check_name(what: str, name: str | None) -> None:
    from lohovla.envs.tasks.names import TASKS
    from lohovla.extensions import installed
    from lohovla.settings.installed_choices import shipped_choices

    if name is None:
        raise UserError("it has no name", f"lohovla new {what} my-{what}")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        fitting = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789") or f"my-{what}"
        raise UserError(
            f"{name!r} is not a valid name of a {what}: small letters, numbers and single dashes",
            f"lohovla new {what} {fitting}",
        )
    shipped = TASKS if what == "task" else shipped_choices(what)
    package = name.replace("-", "_")
    taken = keyword.iskeyword(package) or importlib.util.find_spec(package) is not None
    if name in shipped or name in installed(what) or taken:
        raise UserError(f"there is a {'package' if taken else what} {name!r} already", f"lohovla new {what} my-{name}")


def _place(folder: Path, file: str, package: str) -> Path:
    """Where a file of a template goes."""
    if file in ("README.md", "pyproject.toml"):
        return folder / file
    if file == "gitignore":
        return folder / ".gitignore"
    return folder / ("tests" if file.startswith("test_") else package) / file


def _write(template: Traversable, target: Path, words: dict[str, str]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(Template(template.read_text(encoding="utf-8")).substitute(words), encoding="utf-8")
