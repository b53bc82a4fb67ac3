"""``lohovla collect``: record demonstrations."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from lohovla.errors import UserError
from lohovla.progress import progress


def run(config: DictConfig) -> int:
    """Bring the data set to the wanted number of episodes of every task."""
    from lohovla.collect.collect_dataset import CollectConfig, collect
    from lohovla.policies.registry import split_settings

    if config.dataset is None:
        raise UserError("no data set named", "name its folder with dataset=FOLDER")
    if config.seed % 2:
        raise UserError(f"seed {config.seed} is odd", "training seeds are even: odd ones are for validation and test")
    names = list(config.task) if isinstance(config.task, ListConfig) else [config.task]
    env, tasks, world = _where(config, names)
    disturb: Any = OmegaConf.to_container(config.disturb)
    chosen: Any = OmegaConf.to_container(config.policy)
    name, settings = split_settings(chosen)
    plan = CollectConfig(
        root=Path(config.dataset),
        tasks=tasks,
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
        world=world,
        noise=config.noise,
    )
    began = time.perf_counter()
    with progress(total=len(tasks) * config.episodes, unit="episode") as bar:
        writer = collect(plan, bar.update)
    seconds = time.perf_counter() - began
    print(f"{writer.episodes} episodes, {writer.frames} frames in {plan.root} after {seconds:.0f} s")
    return 0


def _where(config: DictConfig, names: list[str]) -> tuple[dict[str, Any], tuple[str, ...], bool]:
    """Settings of the environment, names of its tasks, and whether it is another project's environment."""
    from lohovla.envs.tasks.registry import get_task
    from lohovla.envs.worlds.shared import shared_world

    env: Any = OmegaConf.to_container(config.env)
    if config.world.name == "blocks":
        if config.policy.name == "expert":
            raise UserError("the block world has no expert of that name", "policy=oracle is its teacher")
        return env, tuple(get_task(name).name for name in names), False
    settings: Any = OmegaConf.to_container(config.world)
    world = shared_world(settings)
    if config.policy.name != "expert" or not world.has_expert:
        where = f"{world.name} is shown by its own expert" if world.has_expert else f"{world.name} has no expert"
        raise UserError(f"policy={config.policy.name} cannot be recorded: {where}", "policy=expert records the expert")
    return settings, world.tasks_of(names), True
