"""What other packages add, seen without installing any: an entry point is a line in a folder on the path."""

import pytest

from lohovla.envs.tasks.registry import get_task
from lohovla.envs.worlds.world import World
from lohovla.errors import UserError
from lohovla.extensions import installed, load_extension
from lohovla.policies.registry import make_policy
from lohovla.settings.hydra_config import compose

MODULE = """
from lohovla.envs.tasks.registry import Task
from lohovla.policies.base import Policy, PolicySpec

WORLD = {"env": "PointOnMark-v0", "module": "tiny_world", "kwargs": {"render_mode": "rgb_array"},
         "cameras": {"top": "views/top"}, "state": "agent", "tasks": {"point": "Move the point"}, "max_steps": 7}

class Mine(Policy):
    def act(self, observation, context): ...

def make(env, checkpoint, size=3, wide=False, **more):
    policy = Mine()
    policy.settings = {"checkpoint": checkpoint, "size": size, "wide": wide, **more}
    return policy

def strange(env): return 3

class Nameless(Task):
    def build(self, layout): ...

class Unfinished(Task):
    name = "unfinished"
"""


@pytest.fixture
def add(tmp_path, monkeypatch):
    """Puts a package on the path that names entry points: ``add("mine", "policies", first="module:object")``."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_things_of_a_test.py").write_text(MODULE)

    def write(package, group, **entries):
        folder = tmp_path / f"{package}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name.replace('_', '-')} = own_things_of_a_test:{value}" for name, value in entries.items()]
        (folder / "entry_points.txt").write_text("\n".join([f"[lohovla.{group}]", *lines]) + "\n")

    return write


def test_nothing_is_imported_before_it_is_asked_for(add):
    add("mine", "policies", broken_one="gone")
    assert "broken-one" in installed("policy")
    with pytest.raises(UserError, match="policy 'broken-one' of mine cannot be loaded"):
        load_extension("policy", "broken-one")


def test_two_packages_with_one_name_are_refused(add):
    add("mine", "policies", twice="make")
    add("yours", "policies", twice="strange")
    with pytest.raises(UserError, match="mine and yours both have a policy 'twice'"):
        compose("rollout", ["policy=twice"])


def test_a_policy_takes_what_its_function_takes(add):
    add("mine", "policies", own_sized="make")
    config = compose("rollout", ["policy=own-sized", "policy.size=5", "policy.checkpoint=a=b", "+policy.depth=2"])
    assert dict(config.policy) == {"name": "own-sized", "checkpoint": "a=b", "size": 5, "wide": False, "depth": 2}
    settings = dict(config.policy)
    env = type("Env", (), {"unwrapped": None})()
    assert make_policy(settings.pop("name"), env, **settings).settings == settings
    with pytest.raises(UserError, match="policy own-sized needs checkpoint"):
        make_policy("own-sized", env, checkpoint=None)
    with pytest.raises(UserError, match=r"policy\.wide cannot be 3"):
        compose("rollout", ["policy=own-sized", "policy.wide=3"])


def test_a_function_that_makes_no_policy_is_told(add):
    add("mine", "policies", strange="strange")
    with pytest.raises(UserError, match="policy strange made a int"):
        make_policy("strange", type("Env", (), {"unwrapped": None})())


def test_an_own_setting_may_have_an_old_or_a_ranged_name(add, tmp_path):
    (tmp_path / "own_named_settings.py").write_text("def make(env, steps=4, quality='high', replan='patient'): ...")
    config = compose("rollout", ["policy=own_named_settings:make", "policy.steps=9", "policy.quality=low"])
    assert dict(config.policy) | {"name": ""} == {"name": "", "steps": 9, "quality": "low", "replan": "patient"}


def test_a_world_is_a_mapping_over_the_usual_one(add, tiny_world_settings):
    add("mine", "worlds", own_point="WORLD")
    config = compose("evaluate", ["world=own-point", "world.max_steps=9"])
    assert (config.world.name, config.world.kind, config.world.success) == ("own-point", "gymnasium", "is_success")
    assert (config.world.env, config.world.max_steps) == ("PointOnMark-v0", 9)
    from omegaconf import OmegaConf

    world = World(OmegaConf.to_container(config.world))
    assert list(world.tasks) == ["point"]
    world.close()


@pytest.mark.parametrize(
    ("value", "says"),
    [("Nameless", "needs name = 'own-task'"), ("make", "names a class"), ("Unfinished", "abstract")],
)
def test_a_task_that_is_none_is_told(add, value, says):
    add("mine", "tasks", own_task=value)
    with pytest.raises(UserError, match=says):
        get_task("own-task")
