"""Episodes of the simulated robot: set the table by its seed, hear how it went, and keep that as evaluations do."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lohovla.errors import UserError
from lohovla.evaluate.episode_log import NAME, EpisodeLog, flatten, read_settings, refuse_other_environment
from lohovla.evaluate.episode_runner import EpisodeResult, SubtaskSpan
from lohovla.evaluate.report import result_table
from lohovla.ros.transport.message_types import Message
from lohovla.ros.transport.transport import Subscription

_log = logging.getLogger("lohovla.ros")
_DECISIVE = ("policy", "robot", "profile", "loop", "task", "checkpoint", "home", "seconds", "judge")
SUCCEEDED = "success"  # why the simulator ends an episode whose goal stands
_AGAIN = 2.0  # s after which a reset is said again
_VERDICT = (
    1.0  # simulated s after which the simulator has judged what stands: a goal counts once it has stood for 0.5 s
)
_PATIENCE = 3.0  # s to wait for that


class SimulatedEpisodes:
    """What ``lohovla ros-sim`` says of its episode.

    Args:
        transport: to ROS.
        task: that is to be played.
        judges: whether the simulator's word ends an episode, so that what comes after it does not count.

    Attributes:
        ended: why it is over, or "".
        success: whether the goal stood at the end.
        score: at the last word.
    """

    def __init__(self, transport: Any, task: str, judges: bool = True):
        self._transport, self._task, self._judges = transport, task, judges
        self._seed: int | None = None
        self._result: dict[str, Any] = {}
        transport.advertise("/sim/reset", "std_msgs/Int64")
        transport.subscribe(Subscription("/sim/result", "std_msgs/String", self._take, reliable=True))

    def _take(self, message: Message) -> None:
        try:
            result = json.loads(message["data"])
            if int(result["seed"]) == self._seed and not (self._judges and self.ended):
                self._result = result
        except (ValueError, KeyError, TypeError):
            _log.warning("a result that cannot be read")

    @property
    def ended(self) -> str:
        return str(self._result.get("reason", "")) if self._result.get("ended") else ""

    @property
    def success(self) -> bool:
        return bool(self._result.get("success"))

    @property
    def score(self) -> float:
        return float(self._result.get("score", 0.0))

    def begin(self, seed: int, cancelled: Callable[[], bool]) -> str:
        """Set the table; returns the goal sentence, or "" if it was cancelled.

        Raises:
            UserError: another task is played there.
        """
        self._seed, self._result = seed, {}
        said = 0.0
        while not cancelled():
            now = time.monotonic()
            if now - said > _AGAIN:
                self._transport.publish("/sim/reset", {"data": seed})
                said = now
            if self._result and not self._result["ended"] and self._result["time"] < 1.0:
                if self._result["task"] != self._task:
                    raise UserError(
                        f"ros-sim plays {self._result['task']}, not {self._task}", f"lohovla ros-sim task={self._task}"
                    )
                return str(self._result["instruction"])
            time.sleep(0.02)
        return ""

    def settle(self) -> None:
        """Wait until the simulator has judged what stands now: a policy may say that all is done before it counts."""
        begun, limit = float(self._result.get("time", 0.0)), time.monotonic() + _PATIENCE
        while not self.ended and time.monotonic() < limit:
            if float(self._result.get("time", 0.0)) - begun >= _VERDICT:
                return
            time.sleep(0.02)

    def result(self, cause: str, subtasks: Sequence[tuple[float, str]]) -> EpisodeResult:
        """The record of the episode.

        Args:
            cause: why the run ended, where the simulator does not say.
            subtasks: what the policy planned, each with its time, s.
        """
        said = self._result
        ended = self.ended if self._judges or self.ended != SUCCEEDED else ""
        spans = [SubtaskSpan(moment, text, 0.0) for moment, text in subtasks]
        return EpisodeResult(
            task=self._task,
            seed=int(self._seed or 0),
            instruction=str(said.get("instruction", "")),
            success=self.success,
            score=self.score,
            reason=ended or cause,
            steps=int(said.get("steps", 0)),
            actions=int(said.get("actions", 0)),
            drops=int(said.get("drops", 0)),
            clamped=0,
            simulated_seconds=float(said.get("time", 0.0)),
            missing=str(said.get("missing", "")),
            subtasks=spans,
        )


def refuse_other_ros_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Let a folder's evaluation be continued only with what decides the outcomes of its episodes.

    Raises:
        UserError: it was made with something else; the message names the first difference.
    """
    if not (folder / NAME).exists():
        return
    made = read_settings(folder)
    refuse_other_environment(folder, made)
    before = made.get("settings", {})
    then, now = (flatten({key: known.get(key) for key in _DECISIVE}) for known in (before, settings))
    for key in [*now, *then]:
        if then.get(key) != now.get(key):
            raise UserError(
                f"{folder} was made with {key}={then.get(key)}, not {now.get(key)}", "choose another output=FOLDER"
            )


class RosEvaluation:
    """Episodes as ``lohovla evaluate`` keeps them, so that ``lohovla compare`` puts them beside others.

    Args:
        folder: of the run; episodes that it has are not played again.
        episodes: (task, seed) of all, in order.
    """

    def __init__(self, folder: Path, episodes: Sequence[tuple[str, int]]):
        self._folder, self._log = folder, EpisodeLog(folder, episodes)

    def has(self, task: str, seed: int) -> bool:
        """Whether that episode was played before."""
        return (task, seed) in self._log.rows

    def add(self, result: EpisodeResult) -> None:
        """Keep an episode, at once."""
        self._log.append({**dataclasses.asdict(result), "failure": result.failure})

    def close(self) -> str:
        """Write ``summary.json`` and ``table.md``; returns the result in a line, or "" where nothing was played."""
        rows = self._log.close()
        if not rows:
            return ""
        results = result_table.results_of(rows)
        (self._folder / "table.md").write_text(
            result_table.markdown(*result_table.results_table(results)), encoding="utf-8"
        )
        (self._folder / "summary.json").write_text(
            json.dumps(result_table.summary_json(results), indent=2), encoding="utf-8"
        )
        overall = results.overall
        return (
            f"{overall.successes} of {overall.episodes} solved ({100 * overall.low:.0f} to {100 * overall.high:.0f} %)"
        )
