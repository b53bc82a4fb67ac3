"""What ``lohovla COMMAND --help`` says of settings: each by its whole name, with its default and meaning, in groups.

Meanings are the comments of the configuration files; where there is none, what the setting takes stands in its place.
"""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterator
from importlib import resources

from omegaconf import DictConfig, OmegaConf

from lohovla.extensions import GROUPS, installed
from lohovla.settings.hydra_config import defaults_of
from lohovla.settings.installed_choices import shipped_choices
from lohovla.settings.setting_ranges import kind_of
from lohovla.settings.setting_types import SettingType, shown

_COLUMN = 38  # where meanings begin


def describe_settings(command: str, words: list[str]) -> str:
    """The settings of ``command`` with the groups that ``words`` choose: those of its own first, then each group's."""
    config = defaults_of(command, words)
    said, _ = _comments(_text(command))
    chosen = {key: value for key, value in config.items() if _is_group(str(key)) and isinstance(value, DictConfig)}
    own = OmegaConf.create({key: value for key, value in config.items() if key not in chosen})
    parts = ["Settings and their defaults:", *_lines(command, own, said)]
    for group, settings in chosen.items():
        name = _chosen_file(command, str(group), words)
        meanings, title = _group_comments(str(group), name)
        parts += ["", *_heading(str(group), name, title)]
        parts += _lines(command, settings, meanings, f"{group}.")
    return "\n".join(parts)


def _is_group(key: str) -> bool:
    return resources.files("lohovla.configs").joinpath(key).is_dir()


def _text(name: str) -> str:
    file = resources.files("lohovla.configs").joinpath(f"{name}.yaml")
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _chosen_file(command: str, group: str, words: list[str]) -> str:
    """Which of a group's files is taken."""
    typed = [word.partition("=")[2] for word in words if word.startswith(f"{group}=")]
    found = re.search(rf"^\s*- {group}: *([\w-]+)", _text(command), re.MULTILINE)
    return typed[-1] if typed else found[1] if found else ""


def _group_comments(group: str, name: str) -> tuple[dict[str, str], str]:
    """Comments of a group's file, over those of the files that it is written as a difference from; and its title."""
    text = _text(f"{group}/{name}")
    base = re.search(r"^defaults:\s*(?:\[([\w-]+)|\n\s*- ([\w-]+))", text, re.MULTILINE)
    meanings = _group_comments(group, base[1] or base[2])[0] if base else {}
    own, title = _comments(text)
    return {**meanings, **own}, title


def _heading(group: str, name: str, title: str) -> list[str]:
    names = [*shipped_choices(group), *(installed(group) if group in GROUPS else ())]
    others = [choice for choice in names if choice != name]
    rest = f"; or {', '.join(others)}" if others else ""
    width = shutil.get_terminal_size((100, 24)).columns
    return textwrap.wrap(f"{group}={name or '...'}{rest}. {title}".rstrip(), max(width, 60))


def _comments(text: str) -> tuple[dict[str, str], str]:
    """The comment behind each key of a YAML text, by dotted name; and the comment that it begins with."""
    found: dict[str, str] = {}
    parents: list[tuple[int, str]] = []
    for line in text.splitlines():
        if (entry := re.match(r"( *)([\w.-]+):(.*)$", line)) is None:
            continue
        indent, key, rest = len(entry[1]), entry[2], entry[3]
        parents = [(depth, name) for depth, name in parents if depth < indent]
        comment = re.search(r"(?:^|\s)#\s*(.*)$", rest)
        if comment:
            found[".".join([*(name for _, name in parents), key])] = comment[1]
        parents.append((indent, key))
    first = re.match(r"((?:#.*\n)+)", text)
    title = " ".join(line.lstrip("# ") for line in first[1].splitlines()) if first else ""
    return found, title


def _lines(command: str, config: DictConfig, meanings: dict[str, str], prefix: str = "") -> Iterator[str]:
    width = max(shutil.get_terminal_size((100, 24)).columns, 60)
    for name, value in _leaves(config):
        meaning = meanings.get(name, "")
        if not meaning:
            meaning = _takes(kind_of(command, f"{prefix}{name}", value))
            above = name.rpartition(".")[0]
            meaning = (
                f"{meaning}; {meanings[above]}" if meaning and above in meanings else meaning or meanings.get(above, "")
            )
        start = f"  {prefix}{name}={shown(value)}"
        gap = _COLUMN if len(start) < _COLUMN else len(start) + 2
        if not meaning:
            yield start
        elif gap + 30 > width:
            yield start
            yield from textwrap.wrap(meaning, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
        else:
            indent = " " * gap
            wrapped = textwrap.wrap(meaning, width, initial_indent=indent, subsequent_indent=indent)
            yield start.ljust(gap) + wrapped[0].lstrip()
            yield from wrapped[1:]


def _leaves(config: DictConfig, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in config.items():
        if isinstance(value, DictConfig) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _takes(kind: SettingType | None) -> str:
    """What a setting takes, in a few words."""
    if kind is None:
        return ""
    says = f"one of {', '.join(kind.choices)}" if kind.choices else kind.says
    if kind.least is not None:
        says += f" {'above' if kind.above else 'from'} {kind.least:g}" + (f" to {kind.most:g}" if kind.most else "")
    return ("a list, each " if kind.many else "") + says + (" or null" if kind.null else "")
