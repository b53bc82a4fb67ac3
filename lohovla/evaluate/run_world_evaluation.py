"""An evaluation in another project's environment, start to end: what is missing is played, and written as it ends."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lohovla import __version__
from lohovla.envs.worlds.shared import shared_world
from lohovla.errors import UserError
from lohovla.evaluate.episode_files import FAILURES, chosen_for_films, picture_path
from lohovla.evaluate.episode_log import NAME, EpisodeLog, Row, flatten, read_settings
from lohovla.evaluate.missing_episodes import play_missing
from lohovla.evaluate.run_evaluation import VIDEOS, in_groups
from lohovla.evaluate.world_episodes import WorldEpisodeGroup, WorldGroupResult, play_world_group
from lohovla.evaluate.world_protocol import NOT_DECISIVE, WorldProtocol
from lohovla.output_folder import write_atomically
from lohovla.progress import progress

ACTIONS = "actions"


def evaluate_world(
    protocol: WorldProtocol, folder: Path, runner: str = "local", workers: int | None = None
) -> tuple[list[Row], float]:
    """Play the episodes that ``folder`` lacks and write each into ``episodes.jsonl`` as its group ends.

    What was carried out goes to ``actions/<task>-<seed>.npy``, from which films are made; a picture of the last state
    of each failure to ``failures/<task>-<seed>.jpg``.

    Returns:
        Every episode's record in the order of ``protocol.episodes``, and the seconds that the workers spent.
    """
    log = EpisodeLog(folder, protocol.episodes)
    for name in (FAILURES, ACTIONS):
        (folder / name).mkdir(exist_ok=True)
    groups = [
        WorldEpisodeGroup(protocol.world, task, words, seeds, protocol.policy, protocol.policy_settings)
        for task, words in protocol.words.items()
        for seeds in in_groups(protocol.seeds, protocol.batch)
    ]
    seconds = play_missing(log, groups, play_world_group, lambda played: _write(log, played, folder), runner, workers)
    return log.close(), seconds


def _write(log: EpisodeLog, played: WorldGroupResult, folder: Path) -> None:
    for row in played.rows:  # an episode's line comes last, so that it never lacks what goes with it
        file = io.BytesIO()
        np.save(file, played.actions[row["seed"]])
        write_atomically(_actions_path(folder, row), file.getvalue())
        if not row["success"]:
            write_atomically(picture_path(folder, row), played.pictures[row["seed"]])
        log.append(row)


def _actions_path(folder: Path, row: Row) -> Path:
    return folder / ACTIONS / f"{row['task']}-{row['seed']}.npy"


def film_world(
    protocol: WorldProtocol, folder: Path, rows: Sequence[Row], count: int, per_task: int = 0
) -> list[tuple[Row, Path]]:
    """Film the first failures, and successes where failures are fewer: ``videos/<task>-<seed>.mp4``."""
    from lohovla.evaluate.report.world_film import film_world_episode

    chosen = chosen_for_films(rows, count, per_task)
    films = [(row, folder / VIDEOS / f"{row['task']}-{row['seed']}.mp4") for row in chosen]
    missing = [(row, path) for row, path in films if not path.exists() and _actions_path(folder, row).exists()]
    (folder / VIDEOS).mkdir(exist_ok=True)
    for row, path in progress(missing, desc="filming", unit="film"):
        with tempfile.TemporaryDirectory() as scratch:
            film = Path(scratch) / "film.mp4"
            episode = shared_world(protocol.world).episode()
            film_world_episode(episode, row, np.load(_actions_path(folder, row)), film)
            write_atomically(path, film.read_bytes())
    return [(row, path) for row, path in films if path.exists()]


def refuse_other_world_settings(folder: Path, protocol: WorldProtocol) -> None:
    """Let a folder be continued only with what decides the outcomes of its episodes.

    Raises:
        UserError: it was made with something else; the message names the first difference.
    """
    if not (folder / NAME).exists():
        return
    made = read_settings(folder)
    settings = dict(made.get("settings", {}))
    world = {key: value for key, value in (settings.get("world") or {}).items() if key not in NOT_DECISIVE}
    before = {"version": made.get("version"), "policy": settings.get("policy"), "split": settings.get("split")}
    now = flatten({"version": __version__, **protocol.decisive, "batch": protocol.batch})
    old = flatten({**before, "world": world, "batch": settings.get("batch")})
    for key in [*now, *old]:
        if old.get(key) != now.get(key):
            raise UserError(
                f"{folder} was made with {key}={old.get(key)}, not {now.get(key)}",
                "choose another output=FOLDER, or give the settings in its config.yaml",
            )
