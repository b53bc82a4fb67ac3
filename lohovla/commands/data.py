"""``lohovla data check | info``: look a data set over."""

from __future__ import annotations

import collections
import difflib
from pathlib import Path

from omegaconf import DictConfig

from lohovla.errors import UserError

_ACTIONS = ("check", "info")


def run(config: DictConfig) -> int:
    """Check a data set (exit code 1 if anything is wrong) or say what is in it."""
    if config.action not in _ACTIONS:
        nearest = difflib.get_close_matches(str(config.action), _ACTIONS, n=1, cutoff=0.0)[0]
        raise UserError(f"`lohovla data` cannot {config.action!r}", f"did you mean `lohovla data {nearest}`?")
    if config.dataset is None:
        raise UserError("no data set named", f"`lohovla data {config.action} FOLDER`")
    root = Path(config.dataset)
    if not root.is_dir():
        raise UserError(f"there is no folder {root}", f"`lohovla data {config.action} FOLDER`")
    return _check(root) if config.action == "check" else _info(root)


def _check(root: Path) -> int:
    from lohovla.data.check_dataset import check_dataset

    problems = 0
    for line in check_dataset(root):
        print(line)
        problems += 1
    print(f"{root}: {'all is well' if not problems else f'{problems} problems'}")
    return 1 if problems else 0


def _info(root: Path) -> int:
    from lohovla.data.dataset_metadata import read_episode_rows, read_info

    info = read_info(root)
    rows = read_episode_rows(root, info)
    print(f"{root}: {len(rows)} episodes, {info['total_frames']} frames at {info['fps']} a second")
    for name, count in sorted(
        collections.Counter(row.get("task_name") or "; ".join(map(str, row["tasks"])) for row in rows).items()
    ):
        print(f"  {count:6d} x {name}")
    for name, entry in info["features"].items():
        print(f"  {name:32s} {entry['dtype']:8s} {'x'.join(map(str, entry['shape']))}")
    return 0
