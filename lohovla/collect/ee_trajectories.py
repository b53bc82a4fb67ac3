"""Played sub-tasks for continuous control: what was seen at the start, and pieces of the motion that followed.

The teacher carries a sub-task out as the oracle does, but travels higher and comes back to where it looks from, so
that each sub-task begins with the table in full view. Pieces are (state, next actions) at random moments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from lohovla.collect.privileged_labels import points_of
from lohovla.collect.rendered_scenes import label, scene_env, teleport_block
from lohovla.collect.training_stream import PARAPHRASED, FailureInjection, check_training
from lohovla.data.action_chunk_padding import padded_chunk_indices
from lohovla.data.samples import Sample
from lohovla.envs.control.motion import PickPlace, Waypoint
from lohovla.envs.env import BlocksEnv
from lohovla.envs.render.noise import CameraNoise
from lohovla.envs.sensors import proprioception

TRANSIT = 0.24  # m, the least height of the tool on its way: above all but the tallest towers
_MOST = 12  # sub-tasks of an episode
_MISS = 0.06  # m; how far a pick that is to miss goes astray
_STILL = 8  # periods that the arm waits at the end
_BEGIN = 0.1  # share of pieces that begin with the motion
_SENSED = 0.001  # m, noise of the tool's position in the pieces


class PlayedMotions(IterableDataset):
    """Endless sub-tasks carried out with ``ee`` commands at 20 Hz, by worker processes.

    A sample is one of :class:`lohovla.collect.rendered_scenes.LabelledScenes` at the start of a sub-task, and

    - ``piece.state`` (n, 13): proprioception at n moments of the motion;
    - ``piece.motion`` (n, 4): difference of the two commands before (x, y, z, yaw);
    - ``piece.action`` (n, H, 7) and ``piece.pad`` (n, H): the actions from then on; the last is repeated.

    Args:
        tasks: names of tasks, drawn at random.
        seed: even; with the worker's number it decides the stream.
        pieces: moments a sub-task.
        horizon: actions of each.
        noise: largest camera noise.
        skipped: chance that a sub-task is set down and not played, which is cheaper and leads to later states.
        missed: chance that the teacher goes for a wrong place and grips nothing.
        others: random sub-tasks a sample.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        seed: int = 0,
        pieces: int = 16,
        horizon: int = 16,
        noise: Mapping[str, float] | None = None,
        skipped: float = 0.3,
        missed: float = 0.04,
        others: int = 2,
    ):
        check_training(tasks, seed)
        self._tasks, self._seed, self._pieces, self._horizon = tuple(tasks), seed, pieces, horizon
        self._noise, self._skipped, self._missed, self._others = dict(noise or {}), skipped, missed, others

    def __iter__(self) -> Iterator[Sample]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        rng = np.random.default_rng([self._seed, worker, 1])
        number = worker
        environments: dict[str, BlocksEnv] = {}
        while True:
            task = str(rng.choice(self._tasks))
            if task not in environments:
                environments[task] = scene_env(task, "ee")
            env = environments[task]
            yield from self._episode(env, self._seed + 2 * number, rng)
            number += workers

    def _episode(self, env: BlocksEnv, seed: int, rng: np.random.Generator) -> Iterator[Sample]:
        env.paraphrase = bool(rng.random() < PARAPHRASED)
        amount = max(0.0, float(rng.uniform(-0.5, 1.0)))
        env.sensors.noise = CameraNoise.from_settings({name: amount * size for name, size in self._noise.items()})
        observation, _ = env.reset(seed=seed)
        home = observation["state"][:3].astype(float)
        for _ in range(_MOST):
            scene = env.scene()
            subtask = env.problem.goal.next(scene)
            if subtask is None:
                return
            if rng.random() < self._skipped:
                teleport_block(env, scene, subtask, rng, FailureInjection(0.02, 0.02, 0.0))
                continue
            sample = label(env.observe(), scene, subtask, rng, self._others)
            points = points_of(scene, subtask)
            if rng.random() < self._missed:
                turn = rng.uniform(0, 2 * np.pi)
                points[0, :2] += _MISS * np.array([np.cos(turn), np.sin(turn)])
                sample["points"] = points
            states, actions = play_pick_place(env, points, home)
            yield {**sample, **self._cut(states, actions, rng)}

    def _cut(self, states: np.ndarray, actions: np.ndarray, rng: np.random.Generator) -> Sample:
        # Not from where the motion ends: at rest where it looks from, the arm is about to begin.
        moments = rng.integers(len(actions) - _STILL, size=self._pieces)
        moments[rng.random(self._pieces) < _BEGIN] = 0
        steps, padded = padded_chunk_indices(moments, np.full(len(moments), len(actions)), self._horizon)
        state = states[moments].copy()
        state[:, :3] += rng.normal(0, _SENSED, (self._pieces, 3))
        return {
            "piece.motion": np.stack([_motion(actions, int(at)) for at in moments]),
            "piece.state": state.astype(np.float32),
            "piece.action": actions[steps].astype(np.float32),
            "piece.pad": padded,
        }


def _motion(actions: np.ndarray, at: int) -> np.ndarray:
    if at < 2:
        return np.zeros(4, np.float32)
    return (actions[at - 1] - actions[at - 2])[[0, 1, 2, 5]].astype(np.float32)


def play_pick_place(env: BlocksEnv, points: np.ndarray, home: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Carry out a pick and a place (2, 5) and come back to ``home`` (3,).

    Returns:
        States (T, 13) before the actions (T, 7).
    """
    simulation = env.simulation
    pick, place = points[:, :4].astype(float)
    motion = PickPlace(simulation, pick, place, float(points[0, 4]), TRANSIT)
    states, actions = [], []

    def send(waypoint: Waypoint) -> None:
        action = np.array([*waypoint.position, 0.0, 0.0, waypoint.yaw, waypoint.gripper], np.float32)
        states.append(proprioception(simulation))
        actions.append(action)
        env.episode.act(action.astype(float))

    for waypoint in motion:
        send(waypoint)
    for waypoint in motion.go(home, 0.0):
        send(waypoint)
    for _ in range(_STILL):  # the arm catches up, and holds still
        states.append(proprioception(simulation))
        actions.append(actions[-1])
        env.episode.act(actions[-1].astype(float))
    return np.array(states), np.array(actions)
