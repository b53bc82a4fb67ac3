"""``lohovla train``: from data sets of demonstrations, or the block world's stages, all of a recipe or one."""

from __future__ import annotations

import difflib
import inspect
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lohovla.errors import UserError
from lohovla.settings.hydra_config import results_folder


def run(config: DictConfig) -> int:
    """Train, from where it was stopped if ``output`` names a folder with a state; print where the checkpoint is."""
    import torch

    from lohovla.evaluate.validation import closed_loop
    from lohovla.train.recipe import Run

    _check_model(config.recipe.model)
    if config.threads:
        torch.set_num_threads(config.threads)
    settings: Any = OmegaConf.to_container(config, resolve=True)
    if "dataset" in config:
        return _imitate(config, settings)
    ready = Run(settings, Path(config.output) if config.output else None)
    folder = Path(results_folder(config, "train"))
    print(f"to go on after an interruption, run again with output={folder}")
    checkpoint = ready.train(folder, closed_loop)
    print(f"checkpoint in {checkpoint}; try it: lohovla rollout policy=lohovla policy.checkpoint={checkpoint}")
    return 0


def _imitate(config: DictConfig, settings: Any) -> int:
    from lohovla.rerun_recording import check_viewer
    from lohovla.train.run_imitation import ImitationRun

    check_viewer(config.viz)
    ready = ImitationRun(settings, Path(config.output) if config.output else None)
    folder = Path(results_folder(config, "train"))
    print(f"to go on after an interruption, run again with output={folder}")
    if config.viz is not None:
        ready.record_samples(folder / "samples.rrd")
        print(f"the first batch is in {folder / 'samples.rrd'}; look at it with: rerun {folder / 'samples.rrd'}")
    checkpoint = ready.train(folder)
    if (folder / "open_loop.png").exists():
        print(f"predicted over true actions of a held-out episode: {folder / 'open_loop.png'}")
    print(f"checkpoint in {checkpoint}; a policy of it: policy=lohovla policy.checkpoint={checkpoint}")
    return 0


def _check_model(settings: DictConfig) -> None:
    """Refuse names that the model's configuration, which takes any, would keep without a meaning."""
    from lohovla.model.configuration import LoHoVLAConfig

    known = [*inspect.signature(LoHoVLAConfig.__init__).parameters, "backbone"]
    for name in settings:
        if name not in known:
            nearest = difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)[0]
            raise UserError(f"the model has no setting {name!r}", f"did you mean recipe.model.{nearest}?")
