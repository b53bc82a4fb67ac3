"""What a person types after a command, as overrides that Hydra reads.

Hydra's grammar gives commas, brackets, quotes, ``=`` and many other characters a meaning. Goals, prompts and folders
hold them all the same: a value that the grammar cannot read, for a setting that is a word, is taken as it stands.
"""

from __future__ import annotations

import copy
import difflib
import re
import shlex
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from lohovla.errors import UserError
from lohovla.settings.installed_choices import is_of_another_package, takes_any
from lohovla.settings.renamed_settings import new_setting, refuse_old_setting
from lohovla.settings.setting_ranges import ADDED, kind_of, listed_kind
from lohovla.settings.setting_types import SettingType, like, shown

# What bare words fill, in order; the last setting takes all that remain where it ends in an ellipsis.
_POSITIONAL = {
    "bench": ("what",),
    "replay": ("dataset",),
    "data": ("action", "dataset"),
    "new": ("what", "name"),
    "completion": ("what",),
    "compare": ("runs...",),
    "generate": ("prompt",),
    "serve": ("what",),
    "serve-text": ("what",),
}
_FREE = ("prompt", "dataset", "runs...")  # of those, what may look like a setting
# Root configurations that a command's words choose, and what is typed for them.
_VARIANTS = {"serve-text": "serve text", "train-dataset": "train"}
GROUPS = ("env", "policy", "loop", "recipe", "robot", "world")
_UNREADABLE = object()


@dataclass(frozen=True)
class TypedWord:
    """An override as it was typed.

    Attributes:
        mark: ``+``, ``++`` and ``~`` add and remove settings; "" changes one.
        key: the setting.
        text: its value; None where there is no ``=``.
    """

    mark: str
    key: str
    text: str | None

    @classmethod
    def parse(cls, word: str) -> TypedWord:
        """Take a word apart."""
        marked, equals, text = word.partition("=")
        key = marked.lstrip("+~")
        return cls(marked[: len(marked) - len(key)], key, text if equals else None)


def root_of(command: str, words: list[str]) -> str:
    """The root configuration of a command line.

    ``serve text`` has one of its own, as ``serve policy`` has not, and so has ``train`` with ``dataset=``.
    """
    if command == "train":
        return "train-dataset" if any(word.startswith("dataset=") for word in words) else command
    named = next((word.removeprefix("what=") for word in words if "=" not in word or word.startswith("what=")), "")
    return f"{command}-{named}" if f"{command}-{named}" in _VARIANTS else command


def command_as_typed(command: str) -> str:
    """A root configuration's command as it is typed."""
    return _VARIANTS.get(command, command)


def group_choices(words: list[str], defaults: DictConfig) -> list[str]:
    """Those words that choose one of the files of a group (``policy=lohovla``)."""
    chosen = []
    for word in words:
        typed = TypedWord.parse(word)
        if typed.text is not None and _chooses(typed, defaults):
            if not isinstance(read_value(typed.text), str):
                raise UserError(f"there is no {typed.key} {typed.text!r}", f"leave {shlex.quote(word)} out")
            chosen.append(word)
    return chosen


def _chooses(typed: TypedWord, defaults: DictConfig) -> bool:
    return not typed.mark and typed.key in GROUPS and typed.key in defaults


def names_of(config: DictConfig, prefix: str = "") -> list[str]:
    """Every settable name, those of groups included."""
    names = []
    for key, value in config.items():
        names.append(f"{prefix}{key}")
        if isinstance(value, DictConfig):
            names += names_of(value, f"{prefix}{key}.")
    return names


def overrides_of(command: str, words: list[str], defaults: DictConfig) -> tuple[list[str], dict[str, str]]:
    """The overrides that ``words`` stand for.

    Args:
        command: a root configuration.
        words: as they were typed.
        defaults: the configuration with the groups that are chosen, and nothing else.

    Returns:
        Overrides for Hydra; and those values that only fit in afterwards, since ``${`` would refer to a setting.

    Raises:
        UserError: a word is no setting, or its value cannot be read.
    """
    known = names_of(defaults)
    overrides, rest = [], {}
    for word, bare in _placed(command, words, known):
        typed = TypedWord.parse(word)
        if typed.text is None and not typed.mark.startswith("~"):
            raise UserError(f"{word!r} is not a setting", "settings look like key=value")
        if _chooses(typed, defaults):
            overrides.append(word)
            continue
        kind = _known(command, typed, defaults, known)
        raw = typed.text if bare else _raw(command, typed, kind, word, defaults)
        if raw is None:
            overrides.append(word)
        elif "${" in raw:
            rest[typed.key] = raw
        else:
            overrides.append(f"{typed.mark}{typed.key}={_quote(raw)}")
    return overrides, rest


def _placed(command: str, words: list[str], known: list[str]) -> list[tuple[str, bool]]:
    """Words as settings, and whether each was a bare word: ``lohovla bench sim`` means ``lohovla bench what=sim``."""
    places = list(_POSITIONAL.get(command, ()))
    settings: list[tuple[str, bool]] = []
    rest = []
    for word in words:
        if not places or _is_setting(command, word, places[0], known):
            settings.append((word, False))
        elif places[0].endswith("..."):
            rest.append(_quote(word))
        else:
            settings.append((f"{places.pop(0)}={word}", True))
    if rest:
        settings.append((f"{places[0].removesuffix('...')}=[{','.join(rest)}]", False))
    return settings


def _is_setting(command: str, word: str, place: str, known: list[str]) -> bool:
    """Whether a word is a setting, or a mistyped one, rather than what fills ``place``."""
    if not re.match(r"[+~]*[\w.]+=", word):  # a path may hold "=" too
        return False
    key = TypedWord.parse(word).key
    if place not in _FREE or key in known or new_setting(command, key) is not None:
        return True
    if place != "prompt" and Path(word).exists():
        return False
    return bool(difflib.get_close_matches(key, known, n=1, cutoff=0.7)) or "." in key


def _known(command: str, typed: TypedWord, defaults: DictConfig, known: list[str]) -> SettingType | None:
    """The kind of a setting that there is, or that may be added."""
    key, mark = typed.key, typed.mark
    default = _select(defaults, key)
    policy = _select(defaults, "policy.name") if key.startswith("policy.") else None
    own = is_of_another_package("policy", policy)
    custom = policy is not None and takes_any(policy)
    opened = custom or any(fnmatchcase(key, pattern) for pattern in ADDED)
    if key.startswith("recipe.stages.") and listed_kind(command, key) is None:
        opened = False
    if key not in known and not custom and not own:
        refuse_old_setting(command, key)
    if (mark and not opened) or (not mark and key not in known):
        word, cause = f"{key}={typed.text}", f"`lohovla {command_as_typed(command)}` has no setting {key!r}"
        if not mark and opened:
            raise UserError(cause, f"add it with {shlex.quote('+' + word)}")
        if key in known:
            value = shown(default) if typed.text is None else typed.text
            raise UserError(f"{key} can be neither added nor removed", f"set it with {shlex.quote(f'{key}={value}')}")
        nearest = difflib.get_close_matches(key, known, n=3, cutoff=0.4)
        raise UserError(
            cause,
            f"did you mean {' or '.join(nearest)}?"
            if nearest
            else f"`lohovla {command_as_typed(command)} --help` lists them",
        )
    if key in known and mark.startswith("+"):
        raise UserError(f"{key} is a setting already", f"leave the + out: {shlex.quote(f'{key}={typed.text}')}")
    if mark.startswith("~") and key not in known:
        raise UserError(
            f"there is no {key!r} to remove", f"`lohovla {command_as_typed(command)} --help` lists the settings"
        )
    return like(default) if own else kind_of(command, key, default)


def _raw(command: str, typed: TypedWord, kind: SettingType | None, word: str, defaults: DictConfig) -> str | None:
    """The value as it stands where Hydra's grammar does not give a word; None where it does."""
    if typed.text is None:
        return None
    value = read_value(typed.text)
    unread = value is _UNREADABLE
    worded = kind is None or kind.worded
    if worded and not unread and isinstance(value, list | dict) and kind is not None and not kind.many:
        quoted = _in_quotes(f"{typed.mark}{typed.key}", typed.text)
        raise UserError(f"{typed.key} cannot be {typed.text}", f"it is {kind.says}; as it stands: {quoted}")
    if isinstance(value, str) and "${" in value and not _refers(typed.key, value, defaults):
        return typed.text
    if worded and (unread or (kind is not None and isinstance(value, bool | int | float))):
        return typed.text
    if unread:
        assert kind is not None
        about = f"it is {kind.says}" if not kind.many else f"it is a list in brackets, each {kind.says}"
        if command == "generate" and re.search(r"\s", typed.text):
            about += f"; for a prompt: {_in_quotes('prompt', word)}"
        raise UserError(f"{typed.key} cannot be {typed.text!r}", about)
    return None


def _refers(key: str, value: str, defaults: DictConfig) -> bool:
    """Whether what stands in ``${}`` is a setting, or something else that OmegaConf resolves."""
    config = copy.deepcopy(defaults)
    try:
        with open_dict(config):
            OmegaConf.update(config, key, value)
        OmegaConf.select(config, key)
    except OmegaConfBaseException:
        return False
    return True


def read_value(text: str) -> Any:
    """A value by Hydra's grammar: a text, number, flag, list, mapping or None."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import QuotedString
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_override(f"key={text}")
    except HydraException:
        return _UNREADABLE
    if parsed.is_sweep_override():
        return _UNREADABLE
    value = parsed._value
    return value.text if isinstance(value, QuotedString) else value


def _quote(word: str) -> str:
    """A word as Hydra reads it, whatever is in it: backslashes count only before a quote."""
    return "'" + re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), word) + "'"


def _in_quotes(key: str, text: str) -> str:
    """A setting whose text is taken as it stands, as it is typed in a shell."""
    plainly = not set(text) & {'"', "\\"}
    quoted = f'"{text}"' if plainly else _quote(text)
    return shlex.quote(f"{key}={quoted}")


def _select(config: DictConfig, key: str) -> Any:
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, DictConfig) or part not in node:
            return None
        node = node[part]
    return node


def examples(group: str, values: DictConfig) -> str:
    """How some settings of a group are typed."""
    some = []
    for key, value in values.items():
        some.append(f"{group}.{key}={'...' if isinstance(value, DictConfig) else shown(value)}")
    return " ".join(some[:2])
