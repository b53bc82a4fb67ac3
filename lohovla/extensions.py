"""What other packages add to this one: policies, tasks, worlds and robots, found by their entry points.

A package names them in its ``pyproject.toml``, under ``[project.entry-points."lohovla.tasks"]`` say; nothing of it is
imported before the name is asked for.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from lohovla.errors import UserError

# Of entry points, by what they give; docs/extend.md says what each has to be.
GROUPS = {"policy": "lohovla.policies", "task": "lohovla.tasks", "world": "lohovla.worlds", "robot": "lohovla.robots"}


def installed(kind: str) -> dict[str, EntryPoint]:
    """What installed packages give, by name.

    Args:
        kind: a key of :data:`GROUPS`.
    """
    return {entry.name: entry for entry in sorted(entry_points(group=GROUPS[kind]))}


def load_extension(kind: str, name: str) -> Any:
    """The object behind a name of an installed package.

    Raises:
        UserError: its package cannot be imported, or two packages have the name.
    """
    entries = set(entry_points(group=GROUPS[kind], name=name))
    if len({entry.value for entry in entries}) > 1:
        packages = sorted(_package(entry) for entry in entries)
        raise UserError(f"{' and '.join(packages)} both have a {kind} {name!r}", f"pip uninstall {packages[-1]}")
    (entry,) = {entry.value: entry for entry in entries}.values()
    try:
        return entry.load()
    except Exception as error:  # whatever its module does
        raise UserError(
            f"{kind} {name!r} of {_package(entry)} cannot be loaded: {_one_line(error)}",
            f"{entry.value} is what it names in its pyproject.toml",
        ) from error


def load_path(path: str, setting: str) -> Any:
    """The object that ``package.module:name`` names, of an installed package or of the working folder.

    Args:
        path: where it is.
        setting: what it was given as, for the message.

    Raises:
        UserError: there is none.
    """
    module, _, name = path.partition(":")
    if not module or not name:
        raise UserError(f"{setting} cannot be {path!r}", f"name it as {setting}=package.module:function")
    try:
        return getattr(_import(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"{setting}={path}: {_one_line(error)}", "a module in this folder or an installed package is found"
        ) from None


def refuse_unknown_name(kind: str, name: str, names: Iterable[str]) -> None:
    """Raise a UserError that lists what there is, where ``name`` is none of it.

    Args:
        kind: what is named: task, policy and the like.
        name: as it was typed.
        names: of this project; those of installed packages are looked up.
    """
    own = list(installed(kind)) if kind in GROUPS else []
    known = list(names)
    if name in known or name in own:
        return
    (nearest,) = get_close_matches(name, [*known, *own], n=1, cutoff=0.0)
    also = f", and of other packages {', '.join(own)}" if own else ""
    raise UserError(f"there is no {kind} {name!r}", f"did you mean {nearest!r}? installed: {', '.join(known)}{also}")


def _import(name: str) -> ModuleType:
    """A module that is installed, or else one of the working folder, where the command line does not look."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        here = os.getcwd()
        if error.name not in (name, name.partition(".")[0]) or here in sys.path:
            raise
    sys.path.append(here)  # for worker processes too, which are given it
    try:
        return importlib.import_module(name)
    except BaseException:
        sys.path.remove(here)
        raise


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.module


def _one_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
