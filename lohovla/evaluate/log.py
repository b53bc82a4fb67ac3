"""Finished episodes on disk: a JSON line each, written as it ends, safe against a kill at any moment."""

from __future__ import annotations

import fcntl
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lohovla import __version__
from lohovla.disk import write_whole
from lohovla.envs.tasks.names import VERSION
from lohovla.errors import UserError
from lohovla.evaluate.protocol import Protocol

Row = dict[str, Any]
NAME = "episodes.jsonl"


class EpisodeLog:
    """The file ``episodes.jsonl`` of one evaluation, open for appending by one process at a time.

    Args:
        folder: an existing folder, of this evaluation.
        episodes: every (task, seed) of the evaluation, in order.

    Raises:
        UserError: another process writes there, a line is damaged, or there are episodes of no concern here.
    """

    def __init__(self, folder: Path, episodes: Sequence[tuple[str, int]]):
        self._path, self._episodes = folder / NAME, list(episodes)
        self._file = _held(folder)
        whole = self._path.read_bytes().rpartition(b"\n")[0]
        self._file.truncate(len(whole) + 1 if whole else 0)  # a line cut short by a kill never ended
        self.rows = {(row["task"], row["seed"]): row for row in read_rows(folder)}
        strange = self.rows.keys() - set(self._episodes)
        if strange:
            task, seed = min(strange)
            raise UserError(
                f"{folder} holds {len(strange)} episodes that are not asked for, such as {task} seed {seed}",
                "ask for them too (tasks, episodes, split), or choose another output=FOLDER",
            )

    def append(self, row: Row) -> None:
        """Write an episode so that it outlives this process and the machine; one that is there is left alone."""
        key = row["task"], row["seed"]
        if key in self.rows:
            return
        try:
            rest = _line(row)
            while rest:  # a disk that gets full takes a part first; that line is cut off when the folder is taken up
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise UserError(
                f"cannot write to {self._path}: {error.strerror}", "make room and run again to go on from there"
            ) from None
        self.rows[key] = row

    def close(self) -> list[Row]:
        """Put the finished episodes in order, whoever finished first, and return them."""
        rows = [self.rows[key] for key in self._episodes if key in self.rows]
        write_whole(self._path, b"".join(map(_line, rows)))
        self._file.close()
        return rows


def _held(folder: Path) -> io.FileIO:
    """The log of an evaluation, held by this process; without a buffer, which a full disk would be met by late."""
    try:
        file = io.FileIO(folder / NAME, "a+")
    except OSError as error:
        raise UserError(
            f"cannot write to {folder / NAME}: {error.strerror}", "choose another place with output=FOLDER"
        ) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise UserError(f"another evaluation is writing to {folder}", "wait for it, or choose output=FOLDER") from None
    return file


def refuse_while_written(folder: Path) -> None:
    """Refuse a folder that another evaluation is writing to, before anything is written there.

    Raises:
        UserError: it is.
    """
    if (folder / NAME).exists():
        _held(folder).close()


def _line(row: Row) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def read_rows(folder: Path) -> list[Row]:
    """The finished episodes of a run.

    Raises:
        UserError: there is no such run, or a line is damaged.
    """
    path = folder / NAME
    if not path.is_file():
        raise UserError(f"there is no evaluation in {folder}", f"`lohovla evaluate` writes {NAME}; name its folder")
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            row = json.loads(line)
            rows.append({**row, "task": str(row["task"]), "seed": int(row["seed"])})
        except (ValueError, TypeError, KeyError):
            raise UserError(
                f"line {number} of {path} is damaged", "delete that line; its episode is run again"
            ) from None
    return rows


def read_settings(folder: Path) -> dict[str, Any]:
    """What a run was made with: ``version``, ``commit``, ``environment`` and ``settings``; empty if it does not say.

    Raises:
        UserError: its file is damaged, or none of a run.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        return {}
    try:
        made = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        whole = isinstance(made, dict) and isinstance(made.get("settings", {}), dict)
    except (OSError, ValueError, yaml.YAMLError):
        whole = False
    if not whole:
        raise UserError(f"{path} holds no settings of a run", "put back the one that was there, or name another folder")
    return made


def environment_of(made: Mapping[str, Any]) -> int:
    """The version of the environment that a run was made with; the first one was not written down."""
    return made.get("environment", 0)


def refuse_other_environment(folder: Path, made: Mapping[str, Any]) -> None:
    """Refuse to put episodes beside those of another version of the environment.

    Args:
        folder: of the run, for the message.
        made: what it was made with.

    Raises:
        UserError: the version is another.
    """
    if environment_of(made) != VERSION:
        raise UserError(
            f"{folder} was made with version {environment_of(made)} of the environment, and this is version {VERSION},"
            " whose observations differ",
            "choose another output=FOLDER",
        )


def refuse_other_settings(folder: Path, protocol: Protocol) -> None:
    """Let a folder be continued only with what decides the outcomes of its episodes.

    Raises:
        UserError: it was made with something else; the message names the first difference.
    """
    if not (folder / NAME).exists():
        return
    made = read_settings(folder)
    refuse_other_environment(folder, made)
    settings = made.get("settings", {})
    before = flatten({"version": made.get("version"), **{key: settings.get(key) for key in ("policy", "split", "env")}})
    policy = {"name": protocol.policy, **protocol.policy_settings}
    now = flatten({"version": __version__, "policy": policy, "split": protocol.split, "env": protocol.env})
    for key in [*now, *before]:
        if before.get(key) != now.get(key):
            raise UserError(
                f"{folder} was made with {key}={before.get(key)}, not {now.get(key)}",
                "choose another output=FOLDER, or give the settings in its config.yaml",
            )


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name.

    >>> flatten({"env": {"noise": {"color": 0.0}}, "policy": "oracle"})
    {'env.noise.color': 0.0, 'policy': 'oracle'}
    """
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
