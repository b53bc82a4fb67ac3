"""Fixtures that the tests of several packages share."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# Before any test imports the kernels: without a GPU they run in Triton's interpreter.
os.environ["TRITON_INTERPRET"] = "1"
with contextlib.suppress(ImportError):  # first: loaded after other native libraries it has crashed
    import triton  # noqa: F401

import lohovla.envs  # noqa: F401  chooses off-screen OpenGL before any test imports mujoco
from lohovla.envs.control.simulation import Simulation
from lohovla.envs.env import BlocksEnv
from lohovla.envs.language import rgb
from lohovla.envs.scene.world import Composition
from lohovla.envs.tasks.entities import Block, Bowl, Pose, Scene, Zone

COLORS = ("red", "green", "blue", "yellow", "purple", "orange", "cyan", "pink")


def _blind(task: str = "put-block-into-matching-bowl", control: str = "pick_place", **settings: Any) -> BlocksEnv:
    return BlocksEnv(task, control=control, **{"cameras": {}, **settings})


@pytest.fixture
def read_video() -> Callable[[Path], np.ndarray]:
    """All frames of a video, uint8 (T, H, W, 3), as an ordinary player decodes them."""
    import av

    def frames(path: Path) -> np.ndarray:
        with av.open(str(path)) as container:
            return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])

    return frames


@pytest.fixture
def blind() -> Callable[..., BlocksEnv]:
    """Makes an environment without cameras: ten times faster where pictures do not matter."""
    return _blind


def _oracle_action(env: Any) -> np.ndarray:
    scene = env.unwrapped.scene()
    subtask = env.unwrapped.problem.goal.next(scene)
    x, y, _ = scene.centre(subtask.pick)
    place = subtask.place
    pick = (x, y, scene.top(subtask.pick), scene.yaw(subtask.pick))
    return np.array([pick, (place.x, place.y, place.z, place.yaw)], np.float32)


@pytest.fixture
def oracle_action() -> Callable[..., np.ndarray]:
    """The pick_place action of the goal's next sub-task."""
    return _oracle_action


@pytest.fixture
def solve(oracle_action: Callable[..., np.ndarray]) -> Callable[..., tuple[list[float], dict[str, Any]]]:
    """Plays sub-tasks to the episode's end; returns the rewards and the last info."""

    def play(env: Any) -> tuple[list[float], dict[str, Any]]:
        rewards, ended, info = [], False, {}
        while not ended:
            _, reward, terminated, truncated, info = env.step(oracle_action(env))
            rewards.append(reward)
            ended = terminated or truncated
        return rewards, info

    return play


@pytest.fixture
def set_table() -> Callable[..., Simulation]:
    """A simulation of what is asked for: blocks as (x, y, z, yaw, edge), bowls as (x, y), zones as (x, y, edge).

    Names count up (``block0``, ``bowl0``, ``zone0``), and each kind takes the colours of ``COLORS`` in turn.
    """

    def arrange(
        blocks: tuple = (), bowls: tuple = (), zones: tuple = (), gripper: str = "suction", **settings: Any
    ) -> Simulation:
        composition = Composition(
            gripper=gripper,
            blocks=tuple((f"block{i}", block[4]) for i, block in enumerate(blocks)),
            bowls=tuple(f"bowl{i}" for i in range(len(bowls))),
            zones=tuple((f"zone{i}", zone[2]) for i, zone in enumerate(zones)),
        )
        simulation = Simulation(composition, **settings)
        poses = {f"block{i}": tuple(block[:4]) for i, block in enumerate(blocks)}
        poses |= {f"bowl{i}": (*bowl, 0.0, 0.0) for i, bowl in enumerate(bowls)}
        poses |= {f"zone{i}": (*zone[:2], 0.0, 0.0) for i, zone in enumerate(zones)}
        simulation.arrange(poses, {name: rgb(COLORS[int(name[-1])]) for name in poses})
        return simulation

    return arrange


@pytest.fixture
def hand_scene() -> Callable[..., Scene]:
    """A state written by hand, without physics: entities by name, with where they are.

    A block is (color, edge, x, y, z of its foot), a bowl (color, x, y), a zone (color, edge, x, y).
    """

    def write(blocks: dict[str, tuple], fixtures: dict[str, tuple] | None = None, held: str | None = None) -> Scene:
        entities: dict[str, Bowl | Zone] = {}
        poses = {}
        for name, (color, *rest) in (fixtures or {}).items():
            entities[name] = Zone(name, color, rest[0]) if name.startswith("zone") else Bowl(name, color)
            poses[name] = Pose(*rest[-2:], 0.0, 0.0)
        centres = [(x, y, foot + edge / 2) for _, edge, x, y, foot in blocks.values()]
        return Scene(
            blocks={name: Block(name, color, edge) for name, (color, edge, *_) in blocks.items()},
            fixtures=entities,
            fixture_poses=poses,
            positions=np.array(centres).reshape(-1, 3),
            quats=np.array([(1.0, 0.0, 0.0, 0.0)] * len(centres)).reshape(-1, 4),
            held=held,
        )

    return write


TINY = {
    "text_config": {
        "model_type": "qwen3",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    },
    "stem_width": 8,
    "stem_dim": 16,
    "stem_blocks": (1, 1),
    "num_object_tokens": 8,
    "key_dim": 8,
    "expert_dim": 16,
    "expert_layers": 2,
    "expert_heads": 2,
    "image_channels": 2,
    "image_head_dim": 16,
    "image_head_blocks": 1,
}


@pytest.fixture(scope="session")
def tiny_settings() -> dict[str, Any]:
    """The hybrid core's configuration with a few thousand weights, as a recipe gives it."""
    return copy.deepcopy(TINY)


def _awake(model: Any, seed: int = 0) -> Any:
    """The model with weights where it starts from zeros, so that everything has an effect."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("decoder.layers") and parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * parameter.shape[1] ** -0.5)
            if not parameter.any():
                size = parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.2
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * size)
        model.decoder.get_input_embeddings().weight.mul_(30)  # confidences from 0 to 1
    return model.eval()


@pytest.fixture(scope="session")
def make_tiny(tiny_settings: dict[str, Any]) -> Callable[..., tuple[Any, Any]]:
    """Makes an untrained tiny core and its processor; settings given replace those of ``tiny_settings``."""
    from lohovla.train.recipe import new_model

    def make(seed: int = 0, **changes: Any) -> tuple[Any, Any]:
        model, processor = new_model({**copy.deepcopy(tiny_settings), **changes}, seed)
        return _awake(model, seed), processor

    return make


@pytest.fixture(scope="session")
def tiny(make_tiny: Callable[..., tuple[Any, Any]]) -> tuple[Any, Any]:
    """A tiny core and its processor; tests must not change it."""
    return make_tiny()


@pytest.fixture
def browse(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens pages, ``browse(url, width=1200, height=900)``, each in a browser of its own; see ``browser.py``."""
    spec = importlib.util.spec_from_file_location("browser", Path(__file__).with_name("browser.py"))
    assert spec is not None
    assert spec.loader is not None
    browser = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(browser)
    if browser.PROGRAM is None:
        pytest.skip(browser.NONE_HERE)
    made: list[Any] = []

    def begin(url: str, **size: int) -> Any:
        made.append(browser.Browser(browser.PROGRAM, tmp_path / f"browser{len(made)}", url, **size))
        return made[-1]

    yield begin
    for one in made:
        one.close()


_TINY_WORLD = {
    "name": "tiny",
    "kind": "gymnasium",
    "python": None,
    "env": "PointOnMark-v0",
    "module": "tiny_world",
    "kwargs": {"render_mode": "rgb_array"},
    "cameras": {"top": "views/top"},
    "state": "agent",
    "success": "is_success",
    "expert": "tiny_world:expert",
    "tasks": {"point": "Move the point to the mark", "again": "Do it again"},
    "state_names": None,
    "action_names": ["dx", "dy"],
    "fps": None,
    "max_steps": 40,
    "blank": False,
    "instruction": "own",
    "push": {"after": 0, "distance": 0.0},
}


@pytest.fixture
def tiny_world_settings(monkeypatch):
    """Settings of a tiny world; this process and its children find its environment."""
    here = str(Path(__file__).parent / "envs" / "worlds")
    monkeypatch.syspath_prepend(here)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]))
    return copy.deepcopy(_TINY_WORLD)


@pytest.fixture(params=["here", "process"])
def tiny_world(request, tiny_world_settings):
    """The tiny world, in this process and in one of its own."""
    from lohovla.envs.worlds.world import World

    world = World({**tiny_world_settings, "python": sys.executable if request.param == "process" else None})
    yield world
    world.close()


@pytest.fixture(scope="session")
def metaworld_settings():
    """Settings of MetaWorld."""
    python = os.environ.get("LOHOVLA_METAWORLD_PYTHON")
    if not python:
        pytest.skip("LOHOVLA_METAWORLD_PYTHON names no Python with MetaWorld (docs/worlds.md)")
    from omegaconf import OmegaConf

    from lohovla.settings.hydra_config import compose

    settings = OmegaConf.to_container(compose("evaluate", ["world=metaworld"]).world)
    return {**settings, "python": python}


@pytest.fixture(scope="session")
def metaworld(metaworld_settings):
    """MetaWorld, opened once."""
    from lohovla.envs.worlds.world import World

    world = World(metaworld_settings)
    yield world
    world.close()
