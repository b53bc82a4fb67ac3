"""``lohovla collect``: record demonstrations."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from tqdm import tqdm

from lohovla.errors import UserError


def run(config: DictConfig) -> int:
    """Bring the data set to the wanted number of episodes of every task."""
    from lohovla.collect.collect_dataset import CollectConfig, collect
    from lohovla.envs.tasks.registry import get_task
    from lohovla.policies.registry import split_settings

    if config.dataset is None:
        raise UserError("no data set named", "name its folder with dataset=FOLDER")
    if config.seed % 2:
        raise UserError(f"seed {config.seed} is odd", "training seeds are even: odd ones are for validation and test")
    names = list(config.task) if isinstance(config.task, ListConfig) else [config.task]
    env: Any = OmegaConf.to_container(config.env)
    disturb: Any = OmegaConf.to_container(config.disturb)
    chosen: Any = OmegaConf.to_container(config.policy)
    name, settings = split_settings(chosen)
    plan = CollectConfig(
        root=Path(config.dataset),
        tasks=tuple(get_task(name).name for name in names),
        episodes=config.episodes,
        first_seed=config.seed,
        policy=name,
        env=env,
        disturb=disturb,
        keep_failures=config.keep_failures,
        runner=config.runner,
        workers=config.workers,
        policy_settings=settings,
        language=config.language,
    )
    began = time.perf_counter()
    with tqdm(total=len(names) * config.episodes, unit="episode", disable=None) as bar:
        writer = collect(plan, bar.update)
    seconds = time.perf_counter() - began
    print(f"{writer.episodes} episodes, {writer.frames} frames in {plan.root} after {seconds:.0f} s")
    return 0
