"""The type and range of a setting, whatever its default is; ``lohovla.settings.setting_ranges`` lists them by name."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import Any

from omegaconf import DictConfig, ListConfig

from lohovla.errors import UserError

_LARGEST = 2**62  # of whole numbers: seeds go into 64 bits, and further ones are counted up from them


@dataclass(frozen=True)
class SettingType:
    """What a setting takes.

    Attributes:
        types: of Python, of a value or of each one of a list.
        says: the same in words, with an article.
        null: whether null is a value.
        least: the lowest number; None is no bound.
        most: the highest number.
        above: whether ``least`` itself is not allowed.
        choices: the only words allowed; empty is any.
        many: a list of such values; a single one is a list of one.
        length: of the list; None is any.
        single: a list or a single value, which stays one.
        path: a word that names a file or folder: ``~`` is the home folder.
    """

    types: tuple[type, ...]
    says: str
    null: bool = False
    least: float | None = None
    most: float | None = None
    above: bool = False
    choices: tuple[str, ...] = ()
    many: bool = False
    length: int | None = None
    single: bool = False
    path: bool = False

    @property
    def worded(self) -> bool:
        """Whether what a person types is taken as it stands, where it is no list and not null."""
        return self.types == (str,)

    def check(self, key: str, value: Any, default: Any) -> Any:
        """The value as the commands read it.

        Raises:
            UserError: it is of another type, or out of range.
        """
        if value is None:
            if self.null:
                return None
        elif self.many:
            if self.single and not isinstance(value, ListConfig):
                return self._one(key, value, default)
            values = list(value) if isinstance(value, ListConfig) else [value]
            if self.length is None or len(values) == self.length:
                return [self._one(key, one, default) for one in values]
        else:
            return self._one(key, value, default)
        raise self._refusal(key, value, default)

    def _one(self, key: str, value: Any, default: Any) -> Any:
        if self.many and self.worded and isinstance(value, int) and not isinstance(value, bool):
            value = str(value)  # what looks like a number may be a name
        if not isinstance(value, self.types) or (isinstance(value, bool) and bool not in self.types):
            raise self._refusal(key, value, default)
        if isinstance(value, int | float) and not isinstance(value, bool):
            self._bounded(key, value, default)
        if self.choices and value not in self.choices:
            raise UserError(f"{key} cannot be {value!r}", f"choose one of {', '.join(self.choices)}")
        return os.path.expanduser(value) if self.path and isinstance(value, str) and value.startswith("~") else value

    def _bounded(self, key: str, value: float, default: Any) -> None:
        if not math.isfinite(value) or (float not in self.types and abs(value) > _LARGEST):
            raise self._refusal(key, value, default)
        low = self.least is not None and (value <= self.least if self.above else value < self.least)
        if low or (self.most is not None and value > self.most):
            bounds = [] if self.least is None else [f"{'above' if self.above else 'at least'} {self.least:g}"]
            bounds += [] if self.most is None else [f"at most {self.most:g}"]
            raise UserError(f"{key} must be {' and '.join(bounds)}, not {value}", _default(key, default))

    def _refusal(self, key: str, value: Any, default: Any) -> UserError:
        says = self.says
        if self.many:
            count = "" if self.length is None else f"{self.length} of them; "
            says = f"a list in brackets, {count}each {says}"
        says += " or null" if self.null else ""
        return UserError(f"{key} cannot be {plain_value(value)!r}", f"it is {says}; the default is {shown(default)}")


def plain_value(value: Any) -> Any:
    """A value of a configuration without the configuration's own classes."""
    if isinstance(value, DictConfig):
        return {key: plain_value(one) for key, one in value.items()}
    return [plain_value(one) for one in value] if isinstance(value, ListConfig) else value


def shown(value: Any) -> str:
    """A value as it is typed."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | ListConfig):
        return "[" + ", ".join(shown(one) for one in value) + "]"
    return '""' if value == "" else str(plain_value(value))


def _default(key: str, default: Any) -> str:
    return f"{key}={shown(default)} is the default"


def flag() -> SettingType:
    """True or false."""
    return SettingType((bool,), "true or false")


def whole_number(least: int | None = None, most: int | None = None) -> SettingType:
    """A whole number."""
    return SettingType((int,), "a whole number", least=least, most=most)


def number(least: float | None = None, most: float | None = None, above: bool = False) -> SettingType:
    """A finite number."""
    return SettingType((int, float), "a number", least=least, most=most, above=above)


def word(*choices: str) -> SettingType:
    """A word or a sentence."""
    return SettingType((str,), "a word", choices=choices)


def path() -> SettingType:
    """A file or a folder."""
    return SettingType((str,), "a file or folder", path=True)


def group() -> SettingType:
    """A group of settings whose names are not fixed."""
    return SettingType((DictConfig,), "a group of settings, as in {name: value}")


def names_or_pairs() -> SettingType:
    """A name, a list of names, or a group that pairs each with another."""
    return either(SettingType((str, DictConfig), "a name, or pairs as in {name: other}"))


def many(kind: SettingType, length: int | None = None) -> SettingType:
    """A list of values of a kind."""
    return replace(kind, many=True, length=length)


def either(kind: SettingType) -> SettingType:
    """A value of a kind, or a list of them."""
    return replace(kind, many=True, single=True)


def maybe(kind: SettingType) -> SettingType:
    """A value of a kind, or null."""
    return replace(kind, null=True)


def like(default: Any) -> SettingType | None:
    """The kind of a setting that is listed nowhere, from its default; None where that says nothing."""
    if isinstance(default, ListConfig):
        kinds = {like(one) for one in default}
        one = kinds.pop() if len(kinds) == 1 else None
        return None if one is None else many(one)
    found = {bool: flag(), int: whole_number(), float: number(), str: word()}
    return found.get(type(default))
