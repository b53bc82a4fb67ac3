"""Put all the hidden blocks in the two-layer towers into the bowls with matching colors."""

from __future__ import annotations

from lohovla.envs.tasks.goals import Goal
from lohovla.envs.tasks.hidden import two_layer_towers
from lohovla.envs.tasks.layout import Layout
from lohovla.envs.tasks.registry import Split, Task


class PutHiddenBlocksInTwoLayerTowersIntoMatchingBowls(Task):
    """Towers of a big block over a small one, and bowls of every colour."""

    name = "put-hidden-blocks-in-two-layer-towers-into-matching-bowls"
    split = Split.ADDITIONAL
    spare = 4  # two a layer

    def build(self, layout: Layout) -> tuple[Goal, dict[str, str]]:
        return two_layer_towers(layout, matching=True), {}


TASK = PutHiddenBlocksInTwoLayerTowersIntoMatchingBowls
