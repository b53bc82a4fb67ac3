"""Put one block on another, in a bowl or in a zone."""

from __future__ import annotations

from lohovla.envs.language import place_phrase
from lohovla.envs.tasks.goals import Goal, block_phrase
from lohovla.envs.tasks.put_one import PutOne, draw_clutter
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler


class PickAndPlacePrimitive(Task):
    """Two or three blocks, two or three bowls, one or two zones; one block goes to one of the others."""

    name = "pick-and-place-primitive"
    split = Split.PRIMITIVE
    letter = "A"
    palette = "all"

    def build(self, layout: SceneSampler) -> tuple[Goal, dict[str, str]]:
        blocks, bowls, zones = draw_clutter(layout, layout.count(2, 3), layout.count(2, 3), layout.count(1, 2))
        target = layout.choose([*blocks[1:], *bowls, *zones])[0]
        kind = target.rstrip("0123456789")
        words = place_phrase(kind, color=layout.entities[target].color)
        return PutOne(blocks[0], target), {
            "pick": block_phrase(layout.entities[blocks[0]].color),
            "place": words,
        }


TASK = PickAndPlacePrimitive
