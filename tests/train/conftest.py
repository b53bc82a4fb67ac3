"""A few samples of the simulator, drawn once, and a trainer over them."""

from itertools import islice

import pytest
from accelerate import Accelerator

from lohovla.collect.ee_trajectories import PlayedMotions
from lohovla.collect.rendered_scenes import LabelledScenes
from lohovla.train.batch_source import BatchSource
from lohovla.train.loop import Trainer
from lohovla.train.training_stages import Stage

TASK = "pick-and-place-primitive"


@pytest.fixture(scope="session")
def drawn():
    """Samples by stage: four labelled scenes, two played motions."""
    scenes = list(islice(iter(LabelledScenes((TASK,), 0, others=2, pool=1)), 4))
    played = list(islice(iter(PlayedMotions((TASK,), 0, others=0, skipped=0.0, missed=0.0)), 2))
    return {"scenes": scenes, "played": played}


@pytest.fixture
def few(drawn, monkeypatch):
    """A source that gives those samples and no others."""
    monkeypatch.setattr(
        BatchSource, "samples", lambda self, stage, *_: drawn["played" if stage.name == "action" else "scenes"]
    )
    return BatchSource((TASK,), workers=0, overfit=4)


@pytest.fixture
def trainer(few, tmp_path):
    """Makes a trainer of a stage; settings of the trainer may be given."""

    def make(model, processor, name="detector", steps=6, batch=2, lr=1e-2, folder=None, **settings):
        settings = {"log_every": 2, "norms_every": 0, "save_seconds": 0.0, **settings}
        stage = Stage(name, steps, batch, lr)
        accelerator = Accelerator(cpu=True)
        return Trainer(accelerator, model, processor, stage, few, folder or tmp_path, **settings)

    return make
