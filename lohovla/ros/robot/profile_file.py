"""A robot's own profile in a file: what differs from one that ships."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lohovla.errors import UserError
from lohovla.ros.robot.robot_profile import Profile

_SHOWN = "configs/robot/sim.yaml shows every setting of a profile"


def profile_of(robot: DictConfig, file: str | None) -> Profile:
    """The profile of the ``robot`` group, with a person's file over what ships and the command line over both.

    Args:
        robot: the group as it was composed, with what the command line changed.
        file: a YAML file with settings of ``configs/robot/sim.yaml``, or None.

    Raises:
        UserError: the file is none, or a setting is missing, unknown, of another type or out of range.
    """
    if file is None:
        return Profile.from_config(_plain(robot))
    from lohovla.settings.hydra_config import compose

    defaults = compose("ros", [f"robot={robot.name}"])
    shipped = _plain(defaults.robot)
    given = _checked(Path(file), defaults)
    return Profile.from_config(_merged(_merged(shipped, given), _changed(shipped, _plain(robot))))


def _checked(path: Path, defaults: DictConfig) -> dict[str, Any]:
    """What a file says, each setting of the type that it has on the command line."""
    from lohovla.settings.hydra_config import check_values, with_loop

    given = OmegaConf.create(_read(path))
    try:
        check_values("ros", given, with_loop(defaults).robot, "robot.")
    except UserError as error:
        raise UserError(f"{path}: {error.cause}", error.remedy) from None
    return _plain(given)


def _plain(robot: DictConfig) -> dict[str, Any]:
    values: Any = OmegaConf.to_container(robot)
    return values


def _read(path: Path) -> dict[str, Any]:
    try:
        given = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}", "profile=FILE.yaml is your robot's") from None
    except Exception as error:  # of YAML, of OmegaConf, of text that is none
        raise UserError(f"{path} is no YAML: {str(error).splitlines()[0]}", _SHOWN) from None
    if not isinstance(given, dict):
        raise UserError(f"{path} holds no settings", _SHOWN)
    if (strange := _no_word(given)) is not None:
        raise UserError(f"{path} has a setting that is named {strange!r}, which is no word", _SHOWN)
    return given  # type: ignore[return-value]


def _no_word(given: Mapping[Any, Any]) -> Any:
    """A name of a setting that is no word, a number say, wherever it stands; None where there is none."""
    for key, value in given.items():
        if not isinstance(key, str):
            return key
        if isinstance(value, Mapping) and (strange := _no_word(value)) is not None:
            return strange
    return None


def _merged(base: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """``given`` over ``base``, setting by setting; a list replaces the other."""
    merged = dict(base)
    for key, value in given.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _changed(base: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """What of ``other`` differs from ``base``, setting by setting."""
    found = {}
    for key, value in other.items():
        before = base.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            if inner := _changed(before, value):
                found[key] = inner
        elif value != before:
            found[key] = value
    return found
