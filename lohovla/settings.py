"""Configuration of the commands, by Hydra; and the folder where a command's results go."""

from __future__ import annotations

import datetime
import difflib
import re
import subprocess
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from lohovla import __version__
from lohovla.disk import write_whole
from lohovla.errors import UserError


def compose(command: str, overrides: list[str]) -> DictConfig:
    """The resolved configuration of ``command`` with ``key=value`` overrides.

    Raises:
        UserError: an override is no setting, or has no such choice; the message names the nearest.
    """
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException, OverrideParseException

    overrides = _positional(command, overrides)
    try:
        OverridesParser.create().parse_overrides(overrides)
    except OverrideParseException as error:
        raise UserError(f"{error.override!r} is not a setting", "settings look like key=value") from None
    GlobalHydra.instance().clear()
    with hydra.initialize_config_module("lohovla.configs", version_base="1.3"):
        try:
            config = hydra.compose(command, overrides)
            OmegaConf.resolve(config)
        except HydraException as error:
            raise _explain(command, overrides, error) from None
        except Exception as error:  # OmegaConf's many kinds: wrong types, missing values
            raise UserError(
                str(error).splitlines()[0], f"`lohovla {_said(command)} --help` lists the settings"
            ) from None
    _check_types(command, config, overrides)
    return config


_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}


def _check_types(command: str, config: DictConfig, overrides: list[str]) -> None:
    """Refuse a value of another kind than the default that it replaces."""
    if not overrides:
        return
    defaults = compose(command, [])
    for override in overrides:
        key, _, _ = override.partition("=")
        default, value = OmegaConf.select(defaults, key), OmegaConf.select(config, key)
        kind = type(default)
        fits = (int, float) if kind is float else kind
        if kind in _KINDS and (not isinstance(value, fits) or (kind is not bool and isinstance(value, bool))):
            if isinstance(default, str) and isinstance(value, list | ListConfig | None):
                continue
            raise UserError(f"{key} cannot be {value!r}", f"it is {_KINDS[kind]}; the default is {default}")


# What bare words fill, in order; the last setting takes all that remain where it ends in an ellipsis.
_POSITIONAL = {
    "bench": ("what",),
    "replay": ("dataset",),
    "data": ("action", "dataset"),
    "compare": ("runs...",),
    "generate": ("prompt",),
    "serve": ("what",),
    "serve-text": ("what",),
}
_VARIANTS = ("serve-text",)  # commands whose first word decides what their settings are


def root_of(command: str, words: list[str]) -> str:
    """The root configuration of a command line: ``serve text`` has one of its own, as ``serve policy`` has not."""
    named = next((word.removeprefix("what=") for word in words if "=" not in word or word.startswith("what=")), "")
    return f"{command}-{named}" if f"{command}-{named}" in _VARIANTS else command


def _said(command: str) -> str:
    """A root configuration's command as it is typed."""
    return command.replace("-", " ", 1) if command in _VARIANTS else command


def _positional(command: str, words: list[str]) -> list[str]:
    """Turn bare words into settings: ``lohovla bench sim`` means ``lohovla bench what=sim``."""
    settings = list(_POSITIONAL.get(command, ()))
    overrides, rest = [], []
    for word in words:
        if re.match(r"[+~]*[\w.]+=", word) or not settings:  # a path may hold "=" too
            overrides.append(word)
        elif settings[0].endswith("..."):
            rest.append(_quote(word))
        else:
            overrides.append(f"{settings.pop(0)}={_quote(word)}")
    if rest:
        overrides.append(f"{settings[0].removesuffix('...')}=[{','.join(rest)}]")
    return overrides


def _quote(word: str) -> str:
    """A word as Hydra reads it, whatever is in it: backslashes count only before a quote."""
    return "'" + re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), word) + "'"


def describe(command: str) -> str:
    """The default configuration of ``command`` as indented YAML."""
    text = OmegaConf.to_yaml(compose(command, []))
    return "\n".join(f"  {line}" for line in text.splitlines())


def _explain(command: str, overrides: list[str], error: Exception) -> UserError:
    """Turn Hydra's answer into a cause and the nearest settings."""
    known = _leaves(compose(command, []))
    for override in overrides:
        key, _, value = override.partition("=")
        key = key.lstrip("+~")
        group = re.search(rf"Could not find '{re.escape(key)}/{re.escape(value)}'", str(error))
        if group:
            options = re.findall(r"^\t(\S+)$", str(error), re.MULTILINE)
            nearest = difflib.get_close_matches(value, options, n=3, cutoff=0.0)
            return UserError(f"there is no {key} {value!r}", f"did you mean {' or '.join(nearest)}?")
        if key not in known:
            nearest = difflib.get_close_matches(key, known, n=3, cutoff=0.4)
            remedy = (
                f"did you mean {' or '.join(nearest)}?" if nearest else f"`lohovla {_said(command)} --help` lists them"
            )
            return UserError(f"`lohovla {_said(command)}` has no setting {key!r}", remedy)
    return UserError(str(error).splitlines()[0], f"`lohovla {_said(command)} --help` lists the settings")


def _leaves(config: DictConfig, prefix: str = "") -> list[str]:
    """Every settable key, inner nodes included."""
    keys = []
    for key, value in config.items():
        name = f"{prefix}{key}"
        keys.append(name)
        if isinstance(value, DictConfig):
            keys += _leaves(value, f"{name}.")
    return keys


def results_folder(config: DictConfig, command: str) -> Path:
    """Make ``outputs/<command>/<time>/`` and write the resolved configuration, version and commit there."""
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder = Path(config.output or Path("outputs") / command / stamp)
    while config.output is None and folder.exists():
        folder = folder.with_name(folder.name + "_")
    provenance: dict[str, Any] = {"version": __version__, "commit": _commit(), "command": command}
    text = OmegaConf.to_yaml(OmegaConf.create({**provenance, "settings": config}))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "config.yaml", text.encode())
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror}", "make room there, or choose another place with output=FOLDER"
        ) from None
    return folder


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
