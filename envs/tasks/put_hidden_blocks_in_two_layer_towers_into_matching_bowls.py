"""Put all the hidden blocks in the two-layer towers into the bowls with matching colors."""

from __future__ import annotations

from lohovla.envs.tasks.grammar.meaning import Meaning
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler
from lohovla.envs.tasks.towers import two_layer_towers


class PutHiddenBlocksInTwoLayerTowersIntoMatchingBowls(Task):
    """Towers of a big block over a small one, and bowls of every colour."""

    name = "put-hidden-blocks-in-two-layer-towers-into-matching-bowls"
    split = Split.ADDITIONAL
    spare = 4  # two a layer

    def build(self, layout: SceneSampler) -> tuple[Meaning, dict[str, str]]:
        return two_layer_towers(layout, matching=True), {}


TASK = PutHiddenBlocksInTwoLayerTowersIntoMatchingBowls
