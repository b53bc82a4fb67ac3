"""What is evaluated in another project's environment: tasks, seeds, words, the policy and the world's settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lohovla.envs.worlds.world import World

NOT_DECISIVE = ("python", "install")  # settings of a world: where it runs, and how it gets there


@dataclass(frozen=True)
class WorldProtocol:
    """An evaluation in another project's environment.

    Attributes:
        world: its settings.
        words: the instruction of each task, tasks in the order of the tables.
        groups: the group of each task, or "".
        seeds: of each task's episodes.
        policy: its name.
        policy_settings: what else :func:`lohovla.policies.registry.make_policy` takes.
        split: ``test`` or ``val``, what the seeds are of.
        batch: episodes that run at once, feeding one policy.
    """

    world: Mapping[str, Any]
    words: Mapping[str, str]
    groups: Mapping[str, str]
    seeds: tuple[int, ...]
    policy: str
    policy_settings: Mapping[str, Any] = field(default_factory=dict)
    split: str = "test"
    batch: int = 10

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks."""
        return tuple(self.words)

    @property
    def episodes(self) -> list[tuple[str, int]]:
        """Every (task, seed), in order."""
        return [(task, seed) for task in self.words for seed in self.seeds]

    @property
    def decisive(self) -> dict[str, Any]:
        """What decides the outcomes of episodes, as ``config.yaml`` has it: where the world runs does not."""
        world = {key: value for key, value in self.world.items() if key not in NOT_DECISIVE}
        return {"policy": {"name": self.policy, **self.policy_settings}, "split": self.split, "world": world}


def instructions_of(world: World, tasks: Sequence[str], said: str) -> dict[str, str]:
    """The instruction of each task.

    Args:
        world: the world.
        tasks: names of those that are evaluated.
        said: ``own``; ``shuffled``: each has the words of the next of ``tasks`` whose words are others, or of the
            world's next where there is only one; or a sentence, which all of them get.
    """
    own = {task: world.task(task).instruction for task in tasks}
    if said == "own":
        return own
    if said != "shuffled":
        return dict.fromkeys(tasks, said)
    ring = list(tasks) if len(set(own.values())) > 1 else list(world.tasks)
    shuffled = {}
    for task, sentence in own.items():
        at = ring.index(task)
        others = [world.task(name).instruction for name in [*ring[at + 1 :], *ring[:at]]]
        shuffled[task] = next((other for other in others if other != sentence), sentence)
    return shuffled
