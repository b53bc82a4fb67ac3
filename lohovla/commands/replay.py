"""``lohovla replay``: play recorded episodes again and say whether every byte is the same."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig
from tqdm import tqdm

from lohovla import __version__
from lohovla.errors import UserError
from lohovla.mujoco_import import mujoco
from lohovla.progress import progress


def run(config: DictConfig) -> int:
    """Replay one episode, or all with ``episode=all``; exit code 1 if anything differs."""
    from lohovla.collect.replay import Replayer

    if config.dataset is None:
        raise UserError("no data set named", "`lohovla replay FOLDER episode=0`")
    data = Replayer(Path(config.dataset))
    wanted = "0" if config.episode is None else str(config.episode)
    if wanted != "all" and not wanted.isdecimal():
        raise UserError(f"episode cannot be {wanted!r}", "give a number, or all")
    numbers = range(len(data)) if wanted == "all" else [int(wanted)]
    wrong = 0
    for number in progress(numbers, unit="episode", quiet=len(numbers) == 1):
        report = data.replay(number)
        if report.physics is None and report.observation is None:
            if len(numbers) == 1:
                print(f"episode {number}: {report.frames} frames, every byte the same")
            continue
        wrong += 1
        here = f"lohovla {__version__}, mujoco {mujoco.__version__}"
        if report.physics is not None:
            tqdm.write(f"episode {number}: the simulation differs from frame {report.physics} on")
        else:
            tqdm.write(f"episode {number}: the same motion, but other pictures from frame {report.observation} on")
        tqdm.write(f"    recorded with {report.made_with}; this is {here}; another OpenGL draws other pixels")
    if len(numbers) > 1:
        print(f"{len(numbers) - wrong} of {len(numbers)} episodes the same in every byte")
    return 1 if wrong else 0
