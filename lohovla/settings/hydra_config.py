"""Configuration of the commands, by Hydra; and the folder where a command's results go."""

from __future__ import annotations

import copy
import datetime
import difflib
import functools
import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lohovla import __version__
from lohovla.errors import UserError
from lohovla.output_folder import write_atomically
from lohovla.settings.command_words import command_as_typed, examples, group_choices, overrides_of, read_value, root_of
from lohovla.settings.installed_choices import add_choice, is_of_another_package, takes_any
from lohovla.settings.renamed_settings import refuse_old_choice, refuse_old_setting
from lohovla.settings.setting_ranges import kind_of
from lohovla.settings.setting_types import like, plain_value

__all__ = ["check_values", "compose", "defaults_of", "drop_results_folder", "results_folder", "root_of", "with_loop"]


def compose(command: str, words: list[str]) -> DictConfig:
    """The resolved configuration of ``command`` with ``key=value`` words, checked.

    Raises:
        UserError: a word is no setting, has no such choice, or is of another type or out of range; the message names
            the nearest, or what the setting takes.
    """
    defaults = defaults_of(command, words)
    if not words:
        return copy.deepcopy(defaults)
    overrides, rest = overrides_of(command, words, defaults)
    config = _hydra(command, overrides)
    for key, text in rest.items():
        OmegaConf.update(config, key, text.replace("${", "\\${"))
    check_values(command, config, with_loop(defaults))
    return config


def with_loop(defaults: DictConfig) -> DictConfig:
    """The defaults of a command, with those of the loop for what a robot's profile may say about it."""
    if "robot" not in defaults or "loop" not in defaults:
        return defaults
    known = copy.deepcopy(defaults)
    known.robot.loop = OmegaConf.merge(defaults.loop, defaults.robot.loop)
    return known


def defaults_of(command: str, words: list[str]) -> DictConfig:
    """The configuration with the groups that the words choose, and nothing else; not to be changed."""
    plainly = _chosen(command, ())
    chosen = group_choices(words, plainly)
    for word in chosen:
        group, _, name = word.partition("=")
        add_choice(group, str(read_value(name)))
    return _chosen(command, tuple(chosen)) if chosen else plainly


@functools.cache
def _chosen(command: str, chosen: tuple[str, ...]) -> DictConfig:
    return _hydra(command, list(chosen))


def _hydra(command: str, overrides: list[str]) -> DictConfig:
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    GlobalHydra.instance().clear()
    with hydra.initialize_config_module("lohovla.configs", version_base="1.3"):
        try:
            config = hydra.compose(command, overrides)
            OmegaConf.resolve(config)
        except HydraException as error:
            raise _explain(command, overrides, error) from None
        except Exception as error:  # OmegaConf's many kinds: values that refer to nothing
            raise _explain(command, [], error) from None
    return config


def check_values(command: str, config: DictConfig, defaults: DictConfig, prefix: str = "") -> None:
    """Refuse values of other types than the settings have, and those out of range; the others are made to fit.

    Args:
        command: a root configuration.
        config: what is checked; it is changed in place.
        defaults: the same with nothing set.
        prefix: name of the group that both are, with a dot.

    Raises:
        UserError: a value cannot be.
    """
    for key in list(config):
        name, value = f"{prefix}{key}", config[key]
        default = defaults.get(key) if isinstance(defaults, DictConfig) else None
        policy = config.get("name") if prefix == "policy." else None
        own = is_of_another_package("policy", policy)
        if key not in defaults and not own and not takes_any(policy):
            refuse_old_setting(command, name)
        if not own:
            refuse_old_choice(name, value)
        kind = like(default) if own else kind_of(command, name, default)
        grouped = isinstance(default, DictConfig)
        if isinstance(value, DictConfig) and (grouped or kind is None or DictConfig in kind.types):
            check_values(command, value, default if grouped else OmegaConf.create({}), f"{name}.")
        elif grouped and not (kind is not None and kind.null and value is None):
            remedy = f"it is a group of settings: {examples(name, default)}"
            raise UserError(f"{name} cannot be {plain_value(value)!r}", remedy)
        elif kind is not None:
            fitting = kind.check(name, value, default)
            if fitting is not value and fitting != value:
                config[key] = fitting


def _explain(command: str, overrides: list[str], error: Exception) -> UserError:
    """Turn Hydra's answer into a cause and what may help."""
    for override in overrides:
        key, _, value = override.partition("=")
        if re.search(rf"Could not find '{re.escape(key)}/{re.escape(value)}'", str(error)):
            refuse_old_choice(key, value)
            options = re.findall(r"^\t(\S+)$", str(error), re.MULTILINE)
            nearest = difflib.get_close_matches(value, options, n=3, cutoff=0.0)
            return UserError(f"there is no {key} {value!r}", f"did you mean {' or '.join(nearest)}?")
    within = re.search(r"full_key: (\S+)", str(error.__cause__ or error))  # a key inside a value in braces
    if within:
        refuse_old_setting(command, within[1])
    cause = (
        f"`lohovla {command_as_typed(command)}` has no setting {within[1]!r}" if within else str(error).splitlines()[0]
    )
    return UserError(cause, f"`lohovla {command_as_typed(command)} --help` lists the settings")


def results_folder(config: DictConfig, command: str, facts: Mapping[str, Any] | None = None) -> Path:
    """Make ``outputs/<command>/<time>/`` and write the resolved configuration, version and commit there.

    Args:
        config: of the command.
        command: its name.
        facts: what else the results follow from, the version of the environment say; written beside the version.

    Raises:
        UserError: the folder cannot be written to.
    """
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder = Path(config.output or Path("outputs") / command / stamp)
    while config.output is None and folder.exists():
        folder = folder.with_name(folder.name + "_")
    provenance: dict[str, Any] = {"version": __version__, "commit": _commit(), "command": command, **(facts or {})}
    text = OmegaConf.to_yaml(OmegaConf.create({**provenance, "settings": config}))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "config.yaml", text.encode())
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror}", "make room there, or choose another place with output=FOLDER"
        ) from None
    return folder


def drop_results_folder(config: DictConfig, folder: Path) -> None:
    """Remove a folder of :func:`results_folder` that nothing else was written to, unless a person named it."""
    if config.output is not None or [file.name for file in folder.iterdir()] != ["config.yaml"]:
        return
    (folder / "config.yaml").unlink()
    with suppress(OSError):  # others are in use
        for empty in (folder, folder.parent, folder.parent.parent):
            empty.rmdir()


def _commit() -> str:
    """The commit of the source tree this runs from, or "" for an installed package."""
    root = Path(__file__).resolve().parent
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return answer.stdout.strip()
