"""Tables as the stem would describe them."""

import numpy as np
import torch

from lohovla.collect.labels import NO_COLOR, objects_of
from lohovla.collect.scenes import scene_env
from lohovla.collect.tables import TableScenes
from lohovla.data.samples import collate
from lohovla.model.checkpoint import load
from lohovla.model.stem import HEIGHT_UNIT, split_attributes
from lohovla.train.stages import Stage
from lohovla.train.tables import said_of, table_losses


def test_descriptions_are_those_of_the_trained_stem():
    """What is made up from the simulator's table is what the shipped stem says of the picture."""
    model, processor = load()
    env = scene_env("put-block-into-matching-bowl")
    observation, _ = env.reset(seed=3)
    with torch.no_grad():
        seen = model.see(processor([observation]))[1]
    table = torch.from_numpy(objects_of(env.scene()))[None]
    torch.manual_seed(0)
    made = said_of(table, model.config)
    count = int((table[..., 0] >= 0).sum())
    assert seen.facts.shape == made.facts.shape
    assert seen.features.shape == made.features.shape
    assert ((seen.facts[0, :, 3] > 0.3).sum(), (made.facts[0, :, 3] > 0.3).sum()) == (count, count)
    for xy, facts in zip(seen.xy[0, :count], seen.facts[0, :count], strict=True):
        nearest = (made.xy[0, :count] - xy).norm(dim=-1).argmin()
        assert (made.xy[0, nearest] - xy).norm() < 0.008
        true = made.facts[0, nearest]
        assert facts[:3].argmax() == true[:3].argmax()
        a, b = split_attributes(facts[4:]), split_attributes(true[4:])
        for name in ("color", "support", "support_color"):
            if name == "color" or facts[0] > 0.5:  # the stem says only of blocks what they stand on
                assert a[name].argmax() == b[name].argmax()
        assert (a["height"] - b["height"]).abs() * HEIGHT_UNIT < 0.01
        if facts[0] > 0.5:
            assert (a["turn"] - b["turn"]).norm() < 0.5
            assert (a["big"] - b["big"]).abs() < 0.5
        else:
            assert (a["occupied"] - b["occupied"]).abs() < 0.5


def test_what_is_not_there_is_unsure_and_last(tiny):
    config = tiny[0].config
    table = torch.full((1, 40, 10), -1.0)
    table[0, 0] = torch.tensor([0, 3, 1, 0.4, 0.1, 0.06, 0.2, 0, NO_COLOR, 0])
    made = said_of(table, config)
    assert made.facts[0, 0, 3] >= 0.5
    assert (made.facts[0, 1:, 3] < 0.05).all()
    assert split_attributes(made.facts[0, 0, 4:])["color"].argmax() == 3
    low, high = np.array(config.bounds).T
    xy = made.xy[0].numpy()
    assert ((xy > low - 0.02) & (xy < high + 0.02)).all()


def test_words_are_learned_by_either_order(tiny):
    model, processor = tiny
    samples = iter(TableScenes(["put-block-into-matching-bowl"], 2, pool=1))
    batch = collate([next(samples) for _ in range(4)])
    kinds = set()
    for seed in range(12):
        torch.manual_seed(seed)
        losses = table_losses(model, batch, processor)
        kinds.add(tuple(sorted(losses)))
        model.zero_grad()
        sum(losses.values()).backward()
        assert model.object_entry[0].weight.grad[:, model.config.stem_dim :].abs().sum() > 0
        stage = Stage("read", 1)
        for name, parameter in model.named_parameters():
            assert stage.trains(name) or parameter.grad is None, name
    assert kinds == {("point/pick", "text/ar"), ("point/pick", "text/ar", "text/d2f")}
