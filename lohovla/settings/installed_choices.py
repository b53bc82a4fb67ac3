"""Choices of a group (``policy=NAME``, ``world=NAME``, ``robot=NAME``) that other packages give, for Hydra to find."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from lohovla.errors import UserError
from lohovla.extensions import installed, load_extension, load_path, refuse_unknown_name
from lohovla.settings.renamed_settings import refuse_old_choice

_PLAIN = (bool, int, float, str, type(None))
# What a world or a robot of another package is written as a difference from, where it does not say so itself.
_BASES = {"world": "gymnasium", "robot": "sim"}


@cache
def shipped_choices(group: str) -> tuple[str, ...]:
    """The names of a group's own files."""
    folder = resources.files("lohovla.configs").joinpath(group)
    return tuple(sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml")))


def is_of_another_package(group: str, name: Any) -> bool:
    """Whether a choice is none of this project's own."""
    return isinstance(name, str) and name not in shipped_choices(group)


def add_choice(group: str, name: str) -> None:
    """Tell Hydra of a choice that is not one of this project's files.

    Args:
        group: such as ``policy``.
        name: as it was typed: of an entry point, or ``package.module:function`` for a policy.

    Raises:
        UserError: there is none of that name; the message lists those that there are.
    """
    if not is_of_another_package(group, name):
        return
    refuse_old_choice(group, name)
    if group == "policy" and ":" in name:
        node = {"name": name, **factory_settings(load_path(name, "policy"))}
    else:
        refuse_unknown_name(group, name, shipped_choices(group))
        found = load_extension(group, name)
        node = {"name": name, **factory_settings(found)} if group == "policy" else _profile(group, name, found)
    ConfigStore.instance().store(name=name, node=OmegaConf.create(node), group=group)


def factory_settings(factory: Callable[..., Any]) -> dict[str, Any]:
    """The settings of a policy's factory and their defaults, from its signature; the first one is the environment.

    A setting without a default is null here, and has to be given.

    >>> factory_settings(lambda env, checkpoint, steps=4: None)
    {'checkpoint': None, 'steps': 4}
    """
    settings = {}
    for name, parameter in list(inspect.signature(factory).parameters.items())[1:]:
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        default = None if parameter.default is parameter.empty else parameter.default
        default = list(default) if isinstance(default, tuple) else default
        if isinstance(default, (*_PLAIN, list, dict)):
            settings[name] = default
    return settings


def takes_any(name: Any) -> bool:
    """Whether a policy takes settings that its signature does not name."""
    if name == "custom":
        return True
    if not is_of_another_package("policy", name) or not (":" in name or name in installed("policy")):
        return False
    factory = load_path(name, "policy") if ":" in name else load_extension("policy", name)
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in inspect.signature(factory).parameters.values())


def _profile(group: str, name: str, found: Any) -> dict[str, Any]:
    """The settings of a world or a robot, from a mapping, a YAML file, or a function that gives one of them."""
    found = found() if callable(found) else found
    if isinstance(found, str | PathLike):
        try:
            found = OmegaConf.to_container(OmegaConf.load(Path(found)))
        except Exception as error:  # of YAML, of OmegaConf, of the disk
            raise UserError(f"{group} {name!r}: {str(error).splitlines()[0]}", f"{found} has to be YAML") from None
    if not isinstance(found, Mapping):
        raise UserError(
            f"{group} {name!r} is a {type(found).__name__}", "it has to be a mapping, a YAML file, or a function"
        )
    node = {str(key): value for key, value in found.items()}
    return {"defaults": [_BASES[group]], **node, "name": name}
