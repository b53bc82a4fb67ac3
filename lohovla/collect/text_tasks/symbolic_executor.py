"""A symbolic executor: it carries sub-task sentences out on a snapshot of the world, without physics.

Blocks move to where the world's own sub-tasks would put them, so that the world's own goals can judge the end.
"""

from __future__ import annotations

import functools
import re
from dataclasses import replace

import numpy as np

from lohovla.envs.language import vocabulary
from lohovla.envs.tasks.entities import Area, Bowl, Scene, Zone, in_area, in_bowl, in_zone, is_on
from lohovla.envs.tasks.goals import (
    Subtask,
    find_spot,
    put_aside,
    put_at,
    put_in_bowl,
    put_in_zone,
    put_on_block,
    uncovered,
)


class Impossible(Exception):
    """A sentence that cannot be carried out; the message says why."""


def carry_out(scene: Scene, sentence: str) -> Scene:
    """The scene after a sub-task such as ``Pick up the red block and place it in the green bowl.``, if it is possible.

    Raises:
        Impossible: it is no sub-task, names what is not there, or a covered or occupied thing.
    """
    found = _pattern().fullmatch(sentence)
    if found is None:
        raise Impossible("not a sub-task")
    return apply_subtask(scene, _resolve(scene, {key: value for key, value in found.groupdict().items() if value}))


def apply_subtask(scene: Scene, subtask: Subtask) -> Scene:
    """The scene after ``subtask``, done exactly."""
    index = list(scene.blocks).index(subtask.pick)
    place = subtask.place
    positions, quats = scene.positions.copy(), scene.quats.copy()
    positions[index] = (place.x, place.y, place.z + scene.blocks[subtask.pick].edge / 2)
    quats[index] = (np.cos(place.yaw / 2), 0.0, 0.0, np.sin(place.yaw / 2))
    return replace(scene, positions=positions, quats=quats)


@functools.cache
def _pattern() -> re.Pattern[str]:
    """The sub-task sentence with its parts as named groups, from the vocabulary's own templates."""
    words = vocabulary()
    colors = "|".join(words["colors"])
    sizes = "|".join(words["sizes"])

    def block(prefix: str) -> str:
        return f"(?:(?P<{prefix}_size>{sizes}) )?(?P<{prefix}_color>{colors})"

    places = {
        "bowl": words["place"]["bowl"].format(color=f"(?P<bowl>{colors})"),
        "zone": words["place"]["zone"].format(color=f"(?P<zone>{colors})"),
        "block": words["place"]["block"].format(size="", color=block("on")),
        "area": words["place"]["area"].format(area=f"(?P<area>{'|'.join(words['areas'])})"),
        "table": f"(?P<table>{words['place']['table']})",
    }
    pick = words["pick"]["block"].format(size="", color=block("pick"))
    sentence = re.escape(words["subtask"]).replace(r"\{", "{").replace(r"\}", "}").replace(r"\ ", " ")
    return re.compile(sentence.format(pick=pick, place=f"(?:{'|'.join(places.values())})"))


def _resolve(scene: Scene, words: dict[str, str]) -> Subtask:
    """The sub-task that the words mean in ``scene``."""
    picks = _blocks(scene, words["pick_color"], words.get("pick_size"))
    if not picks:
        raise Impossible(f"there is no {words.get('pick_size', '')} {words['pick_color']} block".replace("  ", " "))
    free = [block for block in picks if uncovered(scene, block) == block]
    if not free:
        raise Impossible(f"the {words['pick_color']} block is covered")
    if "table" in words:
        return _possible(put_aside(scene, free[0]), "the table is full")
    if "on_color" in words:
        return _on_block(scene, free, words)
    if "area" in words:
        return _in_area(scene, free, Area(words["area"]))
    return _in_fixture(scene, free, words)


def _on_block(scene: Scene, free: list[str], words: dict[str, str]) -> Subtask:
    lowers = _blocks(scene, words["on_color"], words.get("on_size"))
    tops = [block for block in lowers if uncovered(scene, block) == block]
    for pick in free:
        for lower in tops:
            if pick != lower and not is_on(scene, pick, lower):
                return put_on_block(scene, pick, lower)
    raise Impossible(f"nothing can be put on the {words['on_color']} block")


def _in_area(scene: Scene, free: list[str], area: Area) -> Subtask:
    outside = [block for block in free if not in_area(scene, block, area)]
    if not outside:
        raise Impossible(f"it is in the {area.name} area already")
    x0, x1, y0, y1 = area.bounds
    spot = find_spot(scene, outside[0], lambda x, y: x0 + 0.02 <= x <= x1 - 0.02 and y0 + 0.02 <= y <= y1 - 0.02)
    if spot is None:
        raise Impossible(f"the {area.name} area is full")
    return put_at(scene, outside[0], area.name, *spot, words="")


def _in_fixture(scene: Scene, free: list[str], words: dict[str, str]) -> Subtask:
    kind, inside, put = (Bowl, in_bowl, put_in_bowl) if "bowl" in words else (Zone, in_zone, put_in_zone)
    color = words.get("bowl") or words["zone"]
    fixtures = [name for name, f in scene.fixtures.items() if isinstance(f, kind) and f.color == color]
    if not fixtures:
        raise Impossible(f"there is no {color} {kind.__name__.lower()}")
    target = fixtures[0]
    outside = [block for block in free if not inside(scene, block, target)]
    if not outside:
        raise Impossible(f"it is in the {color} {kind.__name__.lower()} already")
    if kind is Bowl and any(in_bowl(scene, block, target) for block in scene.blocks):
        raise Impossible(f"the {color} bowl is occupied")
    return put(scene, outside[0], target)


def _blocks(scene: Scene, color: str, size: str | None) -> list[str]:
    return [name for name, b in scene.blocks.items() if b.color == color and size in (None, b.size)]


def _possible(subtask: Subtask | None, otherwise: str) -> Subtask:
    if subtask is None:
        raise Impossible(otherwise)
    return subtask
