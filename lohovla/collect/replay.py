"""Playing a recorded episode again, and comparing it with the recording byte for byte."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lohovla.collect.environment_version import refuse_other_version
from lohovla.collect.episode_recorder import digest
from lohovla.data import dataset_layout
from lohovla.data.dataset_files import UNREADABLE, DamagedFile, read_dataset_json, read_table, unreadable
from lohovla.data.dataset_metadata import data_path, read_episode_rows, read_info
from lohovla.data.parquet import values_of
from lohovla.envs.env import BlocksEnv
from lohovla.errors import UserError


@dataclass(frozen=True)
class ReplayReport:
    """What a replay showed.

    Attributes:
        frames: how many frames were compared.
        physics: the first frame whose simulator state differs, or None.
        observation: the first frame whose observation differs, or None.
        made_with: the versions that recorded it.
        success: whether the replay ended in success.
    """

    frames: int
    physics: int | None
    observation: int | None
    made_with: str
    success: bool


class Replayer:
    """A data set whose episodes can be played again.

    Args:
        root: its folder.

    Raises:
        UserError: it is no data set, was not recorded here, or with another version of the environment.
    """

    def __init__(self, root: Path):
        self._root, self._info = root, read_info(root)
        self._features = self._info["features"]
        if not (root / dataset_layout.ORIGIN).exists():
            raise UserError(f"{root} does not say how it was made", "only sets of `lohovla collect` can be replayed")
        origin = read_dataset_json(root, root / dataset_layout.ORIGIN)
        if not isinstance(origin.get("env"), dict):
            raise UserError(f"{root} was not recorded in simulation", "only sets of `lohovla collect` can be replayed")
        self._settings = origin["env"]
        self._executed = next(
            (n for n in (dataset_layout.EXECUTED, dataset_layout.EXECUTED_BEFORE) if n in self._features), None
        )
        if self._executed is None or not {"hash.physics", "hash.observation"} <= self._features.keys():
            raise UserError(
                f"{root} has lost columns that a replay needs: {dataset_layout.EXECUTED}, "
                "hash.physics or hash.observation",
                "replay the set as `lohovla collect` wrote it",
            )
        self._rows = read_episode_rows(root, self._info)
        makers = " or ".join(sorted({str(row["made_with"]) for row in self._rows if "made_with" in row}))
        refuse_other_version(root, f"replay it with {makers or 'the one that wrote it'}; training reads it as before")

    def __len__(self) -> int:
        return len(self._rows)

    def replay(self, episode: int) -> ReplayReport:
        """Send the recorded actions of an episode to a fresh environment of its seed and settings.

        Raises:
            UserError: there is no such episode.
        """
        if not 0 <= episode < len(self):
            raise UserError(f"{self._root} has no episode {episode}", f"it has 0 to {len(self) - 1}")
        row = self._rows[episode]
        actions, recorded = self._recorded(row)
        try:
            env = BlocksEnv(task=row["task_name"], **self._settings)
        except TypeError as error:
            raise UserError(
                f"{self._root / dataset_layout.ORIGIN} has settings that this version does not know: {error}",
                f"replay with the version that recorded it: {row['made_with']}",
            ) from None
        observation, outcome = env.reset(seed=row["seed"])
        differs: dict[str, int | None] = {"physics": None, "observation": None}
        last = len(actions) - 1
        for frame, action in enumerate(actions):
            now = {
                "physics": digest(env.simulation.vector()),
                "observation": digest(*(observation[key] for key in sorted(observation))),
            }
            for name, value in now.items():
                if differs[name] is None and value != recorded[name][frame]:
                    differs[name] = frame
            if frame < last:
                observation, _, terminated, truncated, outcome = env.step(np.reshape(action, env.action_space.shape))
                if (terminated or truncated) and frame < last - 1:
                    differs["physics"] = frame + 1 if differs["physics"] is None else differs["physics"]
                    break
        return ReplayReport(
            len(actions), differs["physics"], differs["observation"], row["made_with"], outcome["success"]
        )

    def _recorded(self, row: Mapping[str, Any]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The actions of an episode and its fingerprints."""
        path = data_path(self._root, self._info, row)
        kinds = {"task_name": str, "seed": int, "made_with": str}
        if lost := [name for name, kind in kinds.items() if not isinstance(row.get(name), kind)]:
            raise DamagedFile(self._root, self._root / "meta" / "episodes", f"has lost the {lost[0]} of episodes")
        try:
            table = read_table(self._root, path)
            table = table.filter(pa.array(values_of(table, "episode_index", (1,)) == row["episode_index"]))
            if table.num_rows != row["length"]:
                raise DamagedFile(self._root, path, f"has {table.num_rows} frames instead of {row['length']}")
            actions = values_of(table, str(self._executed), self._features[self._executed]["shape"])
            return actions, {name: values_of(table, f"hash.{name}", (1,)) for name in ("physics", "observation")}
        except UNREADABLE as error:
            raise unreadable(self._root, path, error) from None
