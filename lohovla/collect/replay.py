"""Playing a recorded episode again, and comparing it with the recording byte for byte."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from lohovla.collect.recorder import digest
from lohovla.collect.versions import refuse_other_version
from lohovla.data import layout
from lohovla.data.reader import read_info, read_rows
from lohovla.data.tables import values_of
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
        self._root, self._features = root, read_info(root)["features"]
        if not (root / layout.ORIGIN).exists():
            raise UserError(f"{root} does not say how it was made", "only sets of `lohovla collect` can be replayed")
        self._rows = read_rows(root)
        makers = " or ".join(sorted({row["made_with"] for row in self._rows})) or "the one that wrote it"
        refuse_other_version(root, f"replay it with {makers}; training reads it as before")
        self._settings = json.loads((root / layout.ORIGIN).read_text(encoding="utf-8"))["env"]

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
        table = pq.read_table(layout.path_of(self._root, layout.DATA_PATH, episode))
        width = self._features["action.executed"]["shape"]
        actions = values_of(table, "action.executed", width)
        recorded = {name: table[f"hash.{name}"].to_numpy() for name in ("physics", "observation")}

        env = BlocksEnv(task=row["task_name"], **self._settings)
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
