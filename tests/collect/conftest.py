"""A small data set of each control mode, collected once."""

from pathlib import Path

import pytest

from lohovla.collect.collect_dataset import CollectConfig, collect
from lohovla.data.training_set import DatasetChoice, TrainingSet

CAMERAS = {"top": {"width": 64, "height": 32, "depth": True}, "wrist": {"width": 33, "height": 33}}


def plan_of(root: Path, **changes):
    """A plan that collects three episodes of an easy task with small pictures."""
    settings = {
        "root": root,
        "tasks": ("pick-and-place-primitive",),
        "episodes": 3,
        "first_seed": 0,
        "policy": "oracle",
        "env": {"control": "pick_place", "cameras": CAMERAS},
        "disturb": {},
        "keep_failures": False,
        "runner": "local",
        "workers": 1,
    }
    return CollectConfig(**{**settings, **changes})


def opened(root: Path, cache: Path, **changes) -> TrainingSet:
    """A data set opened for training, its pictures decoded into ``cache``."""
    settings = {"rename": {}, "cameras": None, "image_height": 32, "chunk_size": 4, "held_out": 0.0, "seed": 0}
    settings |= {"progress_bar": False, "cache": cache}
    return TrainingSet.open([DatasetChoice(str(root))], **{**settings, **changes})


@pytest.fixture(scope="session", params=["pick_place", "ee"])
def collected(request, tmp_path_factory):
    """The folder of a data set of two tasks, three episodes each."""
    root = tmp_path_factory.mktemp("sets") / request.param
    tasks = ("pick-and-place-primitive", "stack-blocks-with-alternate-color")
    collect(plan_of(root, tasks=tasks, env={"control": request.param, "cameras": CAMERAS}))
    return root


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """The folder of a data set of two short episodes with one small camera: quick to copy and to read."""
    root = tmp_path_factory.mktemp("sets") / "small"
    cameras = {"top": {"width": 32, "height": 16, "depth": True}}
    collect(plan_of(root, episodes=2, env={"control": "pick_place", "cameras": cameras}))
    return root
