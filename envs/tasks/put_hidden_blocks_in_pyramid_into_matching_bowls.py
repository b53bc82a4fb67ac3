"""Put all the hidden blocks in the pyramid into the bowls with matching colors."""

from __future__ import annotations

from lohovla.envs.tasks.grammar.meaning import Meaning
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler
from lohovla.envs.tasks.towers import pyramid


class PutHiddenBlocksInPyramidIntoMatchingBowls(Task):
    """A pyramid of three, two and one; the first layer is wanted."""

    name = "put-hidden-blocks-in-pyramid-into-matching-bowls"
    split = Split.ADDITIONAL
    spare = 6  # two a layer

    def build(self, layout: SceneSampler) -> tuple[Meaning, dict[str, str]]:
        return pyramid(layout), {}


TASK = PutHiddenBlocksInPyramidIntoMatchingBowls
