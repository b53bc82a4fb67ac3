"""What the chosen objects are told of each other."""

from __future__ import annotations

import torch

from lohovla.model.encoders.detector import join_facts, same_color_counts, split_attributes
from lohovla.model.encoders.object_schema import ATTRIBUTE_DIM, ATTRIBUTES, FACT, FACT_DIM, FACTS, KINDS

RED, BLUE = 0, 3


def facts(*objects: tuple[str, int, float]) -> torch.Tensor:
    """Facts (1, K, FACT_DIM) of objects, each a kind, a colour and a score; of nothing else."""
    made = torch.zeros(1, len(objects), FACT_DIM)
    names = list(ATTRIBUTES)
    color = len(KINDS) + 1 + sum(ATTRIBUTES[name] for name in names[: names.index("color")])
    for row, (kind, number, score) in enumerate(objects):
        made[0, row, KINDS.index(kind)] = 1
        made[0, row, len(KINDS)] = score
        made[0, row, color + number] = 0.6
    return made


def counts(*objects: tuple[str, int, float]) -> list[list[int]]:
    """How many blocks, bowls and zones of its colour each object is told of."""
    return same_color_counts(facts(*objects)).unflatten(-1, (3, -1)).argmax(-1)[0].tolist()


def test_an_object_knows_how_many_are_of_its_color():
    reds = [("block", RED, 0.9)] * 3 + [("zone", RED, 0.9)]
    blues = [("block", BLUE, 0.5)] * 2 + [("bowl", BLUE, 0.5)]
    assert counts(*reds, *blues) == [[3, 0, 1]] * 4 + [[2, 1, 0]] * 3


def test_what_is_hardly_there_is_not_counted():
    assert counts(("block", RED, 0.9), ("block", RED, 0.1)) == [[1, 0, 0], [1, 0, 0]]


def test_many_are_as_many_as_are_told_apart():
    crowd = same_color_counts(facts(*[("block", RED, 0.9)] * 9))
    assert counts(*[("block", RED, 0.9)] * 9) == [[5, 0, 0]] * 9
    assert (crowd.sum(-1) == 3).all()
    assert ((crowd == 0) | (crowd == 1)).all()  # one-hot, for each kind


def test_descriptions_are_put_together_and_taken_apart_by_one_schema():
    parts = {name: torch.full((2, 3, width), float(k)) for k, (name, width) in enumerate(FACTS.items())}
    facts = join_facts(dict(reversed(parts.items())))  # by name, whatever the order
    assert facts.shape == (2, 3, FACT_DIM)
    for name, part in parts.items():
        assert torch.equal(facts[..., FACT[name]], part)
    for name, part in split_attributes(facts[..., FACT_DIM - ATTRIBUTE_DIM :]).items():
        assert torch.equal(part, parts[name])
