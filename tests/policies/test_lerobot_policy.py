"""LeRobot's policies here: what they are given and what becomes of their actions. LeRobot itself is stood in for,
but in the last tests, which run where it is installed."""

import sys
from collections import deque
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from point_world import PointWorld

from lohovla.errors import SetupError, UserError
from lohovla.policies.base import Context
from lohovla.policies.registry import make_policy

INSTALL = "LeRobot is not installed: Python 3.12, pip install 'lerobot[dataset]==0.6.1' (docs/lerobot.md)"


class StandIn(torch.nn.Module):
    """What LeRobot's policies have in common: queues that `reset` empties, and noise from torch's generator."""

    def __init__(self, n_obs_steps=1):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.eye(2))
        self.config = SimpleNamespace(
            n_obs_steps=n_obs_steps,
            n_action_steps=3,
            device="cpu",
            input_features={"observation.image": None, "observation.state": None},
            image_features={"observation.image": SimpleNamespace(shape=(3, 16, 16))},
            robot_state_feature=SimpleNamespace(shape=(2,)),
            action_feature=SimpleNamespace(shape=(2,)),
        )
        self.given = []

    def reset(self):
        self._queue = deque(maxlen=self.config.n_obs_steps)

    def predict_action_chunk(self, batch):
        noise = torch.randn(1, 5, 2)
        return (batch["observation.state"] @ self.weight)[:, None] + torch.arange(5.0)[:, None] + noise

    def select_action(self, batch):
        self._queue.append(batch["observation.state"])
        self.given.append(batch)
        return torch.stack(list(self._queue)).mean(0) + torch.randn(1, 2)


@pytest.fixture
def lerobot(monkeypatch):
    """Puts a stand-in in LeRobot's place; returns what it was asked for."""
    asked = SimpleNamespace(n_obs_steps=1, before=[], made=None)

    def from_pretrained(path, config=None):
        asked.made = StandIn(asked.n_obs_steps)
        return asked.made

    def processors(config, path, preprocessor_overrides):
        assert preprocessor_overrides["device_processor"] == {"device": "cpu"}
        return lambda batch: asked.before.append(batch) or batch, lambda action: action * 10

    def read(path):
        if path == "nowhere":
            raise FileNotFoundError("config.json not found in nowhere\nmore")
        return SimpleNamespace(type="stand-in", device=None)

    modules = {
        "lerobot": {},
        "lerobot.configs": {"PreTrainedConfig": SimpleNamespace(from_pretrained=read)},
        "lerobot.policies": {"make_pre_post_processors": processors},
        "lerobot.policies.factory": {"get_policy_class": lambda name: SimpleNamespace(from_pretrained=from_pretrained)},
        "lerobot.utils": {},
        "lerobot.utils.import_utils": {"register_third_party_plugins": lambda: None},
    }
    for name, members in modules.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    return asked


def env(**changes):
    world = PointWorld()
    for name, value in changes.items():
        setattr(world, name, value)
    return SimpleNamespace(unwrapped=world)


def test_a_chunk_goes_through_lerobots_processors(lerobot):
    policy = make_policy("lerobot", env(), checkpoint="mine", rename={"top": "image"})
    policy.reset(4)
    seen = PointWorld().reset(0)
    decision = policy.act(seen, Context())
    [batch] = lerobot.before
    assert batch.keys() == {"task", "observation.state", "observation.image"}
    assert batch["task"] == [seen["instruction"]]
    assert batch["observation.image"].shape == (1, 3, 16, 16)  # the size that it was trained with
    assert 0 <= batch["observation.image"].min() <= batch["observation.image"].max() <= 1
    noise = torch.randn(1, 5, 2, generator=torch.Generator().manual_seed(4))
    wanted = 10 * (torch.from_numpy(seen["state"]) + torch.arange(5.0)[:, None] + noise[0])[:3]
    np.testing.assert_allclose(decision.actions, wanted, rtol=1e-6)
    assert policy.spec.horizon == 3
    assert policy.spec.observation_keys == ("images.top", "state", "instruction")


@pytest.mark.parametrize("n_obs_steps", [1, 2])
def test_episodes_do_not_depend_on_company(lerobot, n_obs_steps):
    """Each has queues and noise of its own, and the weights are kept once."""
    lerobot.n_obs_steps = n_obs_steps

    def play(slots):
        policy = make_policy("lerobot", env(), checkpoint="mine", rename={"top": "image"})
        for slot in slots:
            policy.reset(slot, slot)
        said = {slot: [] for slot in slots}
        for step in range(4):
            torch.manual_seed(0)  # nobody else's draws matter
            for slot in slots:
                observation = {**PointWorld().reset(slot), "state": np.full(2, step + slot, np.float32)}
                said[slot].append(policy.act(observation, Context(step, slot=slot)).actions)
        return policy, said

    policy, together = play((0, 1, 2))
    _, alone = play((1,))
    np.testing.assert_array_equal(np.array(together[1]), np.array(alone[1]))
    assert np.array(together[1]).shape == (4, 3 if n_obs_steps == 1 else 1, 2)
    assert not np.array_equal(np.array(together[1]), np.array(together[2]))
    weights = policy._policy.weight
    assert all(one.policy.weight is weights for one in policy._episodes.values())
    assert len({id(one.policy._queue) for one in policy._episodes.values()}) == 3


def test_what_does_not_fit_is_refused(lerobot):
    with pytest.raises(UserError, match=r"no camera image: it has top(.|\n)*rename=\{top: image\}"):
        make_policy("lerobot", env(), checkpoint="mine")
    with pytest.raises(UserError, match=r"cannot open nowhere: config.json not found in nowhere\n"):
        make_policy("lerobot", env(), checkpoint="nowhere")
    with pytest.raises(UserError, match="no checkpoint"):
        make_policy("lerobot", env())


def test_without_lerobot_the_remedy_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "lerobot", None)
    monkeypatch.setitem(sys.modules, "lerobot.configs", None)
    with pytest.raises(SetupError, match=r"pip install 'lerobot(.|\n)*policy=remote"):
        make_policy("lerobot", env(), checkpoint="mine")


@pytest.mark.parametrize("kind", ["act", "diffusion"])
def test_a_policy_of_lerobot_acts_as_lerobot_has_it(kind, tmp_path):
    """The same actions as LeRobot's own `select_action` behind its processors, from the same noise."""
    pytest.importorskip("lerobot", reason=INSTALL)
    from lerobot.configs import FeatureType, PolicyFeature
    from lerobot.policies import make_pre_post_processors
    from lerobot.policies.factory import get_policy_class, make_policy_config

    small = {
        "act": {"dim_model": 32, "n_heads": 2, "dim_feedforward": 32, "n_encoder_layers": 1, "chunk_size": 5},
        "diffusion": {"down_dims": (16, 32), "crop_shape": None, "num_inference_steps": 2, "use_group_norm": True},
    }[kind]
    config = make_policy_config(
        kind,
        device="cpu",
        pretrained_backbone_weights=None,
        n_action_steps=3,
        input_features={
            "observation.images.top": PolicyFeature(FeatureType.VISUAL, (3, 32, 32)),
            "observation.state": PolicyFeature(FeatureType.STATE, (2,)),
        },
        output_features={"action": PolicyFeature(FeatureType.ACTION, (2,))},
        **small,
    )
    numbers = {"mean": [0.1, 0.2], "std": [0.5, 0.6], "min": [-1.0, -1.0], "max": [1.0, 1.5]}
    own = {name: torch.tensor(value) for name, value in numbers.items()}
    stats = {"observation.state": own, "action": own}
    picture = {"mean": 0.5, "std": 0.2, "min": 0.0, "max": 1.0}
    stats["observation.images.top"] = {name: torch.full((3, 1, 1), value) for name, value in picture.items()}
    before, after = make_pre_post_processors(config, dataset_stats=stats)
    torch.manual_seed(0)
    theirs = get_policy_class(kind)(config).eval()
    for part in (theirs, before, after):
        part.save_pretrained(tmp_path / kind)
    ours = make_policy("lerobot", env(), checkpoint=str(tmp_path / kind))
    ours.reset(5)
    theirs.reset()
    world = PointWorld()
    seen = world.reset(0)
    torch.manual_seed(5)
    waiting = []
    for step in range(7):
        batch = {
            "observation.images.top": torch.from_numpy(seen["images.top"]).permute(2, 0, 1)[None].float() / 255,
            "observation.state": torch.from_numpy(seen["state"])[None],
            "task": [seen["instruction"]],
        }
        with torch.no_grad():
            action = after(theirs.select_action(before(batch)))[0].numpy()
        if not waiting:
            state = torch.get_rng_state()
            waiting = list(ours.act(seen, Context(step)).actions)
            assert torch.equal(torch.get_rng_state(), state)
        np.testing.assert_allclose(waiting.pop(0), action, rtol=1e-5, atol=1e-6)
        seen = world.step(action)
