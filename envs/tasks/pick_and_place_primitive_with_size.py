"""Put the bigger or the smaller block of a colour somewhere."""

from __future__ import annotations

from lohovla.envs.language import place_phrase
from lohovla.envs.tasks.entities import BIG, SMALL
from lohovla.envs.tasks.goals import Goal, block_phrase
from lohovla.envs.tasks.put_one import PutOne
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler


class PickAndPlacePrimitiveWithSize(Task):
    """Each colour comes as a small and (mostly) a big block, so that the size must be heard."""

    name = "pick-and-place-primitive-with-size"
    split = Split.PRIMITIVE
    palette = "all"

    def build(self, layout: SceneSampler) -> tuple[Goal, dict[str, str]]:
        n = layout.count(2, 3)
        colors = layout.pick_colors(n)
        bowls = [layout.bowl(color) for color in layout.pick_colors(layout.count(2, 3))]
        big = [layout.block(color, BIG) for color in colors[: layout.count(2, n)]]
        small = [layout.block(color, SMALL) for color in colors]
        pick, size = layout.choose([(big[0], "bigger"), (small[0], "smaller")])[0]
        rest = [block for block in big[1:] if pick in small or block != pick]
        target = layout.choose([*bowls, *rest])[0]
        if target in bowls:
            place = place_phrase("bowl", color=layout.entities[target].color)
        else:
            place = place_phrase("block", color=layout.entities[target].color, size="bigger")
        return PutOne(pick, target), {"pick": block_phrase(colors[0], size), "place": place}


TASK = PickAndPlacePrimitiveWithSize
