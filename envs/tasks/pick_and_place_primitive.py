"""Put one block on another, in a bowl or in a zone."""

from __future__ import annotations

from lohovla.envs.language import block_phrase, place_phrase
from lohovla.envs.tasks.grammar.meaning import Meaning, Noun, Place, who
from lohovla.envs.tasks.put_one import draw_clutter
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler


class PickAndPlacePrimitive(Task):
    """Two or three blocks, two or three bowls, one or two zones; one block goes to one of the others."""

    name = "pick-and-place-primitive"
    split = Split.PRIMITIVE
    letter = "A"
    palette = "all"

    def build(self, layout: SceneSampler) -> tuple[Meaning, dict[str, str]]:
        blocks, bowls, zones = draw_clutter(layout, layout.count(2, 3), layout.count(2, 3), layout.count(1, 2))
        target = layout.choose([*blocks[1:], *bowls, *zones])[0]
        kind = target.rstrip("0123456789")
        color, there = layout.entities[blocks[0]].color, layout.entities[target].color
        where = Place("block", str(Noun("block", there))) if kind == "block" else Place(kind, there)
        fields = {"pick": block_phrase(color), "place": place_phrase(kind, color=there)}
        return Meaning("place", who(color=color), where=where), fields


TASK = PickAndPlacePrimitive
