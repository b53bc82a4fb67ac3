"""Put all the hidden blocks in the three-layer towers into the bowls with matching colors."""

from __future__ import annotations

from lohovla.envs.tasks.grammar.meaning import Meaning
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler
from lohovla.envs.tasks.towers import three_layer_towers


class PutHiddenBlocksInThreeLayerTowersIntoMatchingBowls(Task):
    """Two towers of a big block over two small ones; both covered blocks of each are wanted."""

    name = "put-hidden-blocks-in-three-layer-towers-into-matching-bowls"
    split = Split.ADDITIONAL
    spare = 6  # two a layer

    def build(self, layout: SceneSampler) -> tuple[Meaning, dict[str, str]]:
        return three_layer_towers(layout), {}


TASK = PutHiddenBlocksInThreeLayerTowersIntoMatchingBowls
