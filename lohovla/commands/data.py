"""``lohovla data check | info | show``: look a data set over."""

from __future__ import annotations

import collections
import difflib
from pathlib import Path

from omegaconf import DictConfig

from lohovla.errors import UserError

_ACTIONS = ("check", "info", "show")


def run(config: DictConfig) -> int:
    """Check a data set (exit code 1 if anything is wrong), say what is in it, or write an episode for a viewer."""
    if config.action not in _ACTIONS:
        nearest = difflib.get_close_matches(str(config.action), _ACTIONS, n=1, cutoff=0.0)[0]
        raise UserError(f"`lohovla data` cannot {config.action!r}", f"did you mean `lohovla data {nearest}`?")
    if config.dataset is None:
        raise UserError("no data set named", f"`lohovla data {config.action} FOLDER`")
    if config.action == "show":
        return _show(config)
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


def _show(config: DictConfig) -> int:
    """Write an episode as a recording for the Rerun viewer; any LeRobot data set will do."""
    from lohovla.data.rerun_frames import write_episode_to_rerun
    from lohovla.data.training_set import DatasetChoice, TrainingSet
    from lohovla.rerun_recording import check_viewer
    from lohovla.settings.hydra_config import results_folder

    check_viewer(config.viz)
    try:
        number = int("0" if config.episode is None else config.episode)
    except ValueError:
        raise UserError(f"episode cannot be {config.episode!r}", "give the number of one") from None
    # Nothing is trained here: the episode alone is opened, as it is in the set.
    found = TrainingSet.open(
        [DatasetChoice(str(config.dataset), 1.0, [number])],
        rename={},
        cameras=None,
        image_height=config.image_height,
        chunk_size=1,
        held_out=0.0,
        seed=0,
    )
    folder = results_folder(config, "data")
    path = folder / f"episode-{number}.rrd"
    frames = write_episode_to_rerun(found, 0, path)
    print(f"{frames} frames of episode {number} in {path}; look at them with: rerun {path}")
    return 0
