"""``lohovla preview-plan``: a whole plan in words and pictures, before anything is done, and what comes of it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from omegaconf import DictConfig

from lohovla.settings.hydra_config import results_folder


def run(config: DictConfig) -> int:
    """Imagine the plan, have the oracle carry it out, write ``plan.html``, ``plan.png`` and ``plan.json``."""
    import torch

    from lohovla.collect.rendered_scenes import scene_env
    from lohovla.evaluate.report.imagined_plan_page import record, sheet, write_page
    from lohovla.evaluate.subgoal.imagined_rollout import execute_plan, plan_ahead
    from lohovla.model.checkpoint import load_checkpoint
    from lohovla.model.inference.subgoal_generation import SubgoalSamplingConfig, require_subgoal_generator

    if config.threads:
        torch.set_num_threads(config.threads)
    brush = SubgoalSamplingConfig(config.order, config.steps, config.num_inference_steps, config.guidance)
    model, processor = load_checkpoint(config.checkpoint, config.device)
    require_subgoal_generator(model)
    env = scene_env(config.task)
    observation, info = env.reset(seed=config.seed)
    most = int(config.max_subtasks or info["max_actions"])
    plan = plan_ahead(model, processor, observation, brush, most, config.seed)
    happened = execute_plan(env, plan)
    folder = results_folder(config, "preview-plan")
    title: dict[str, Any] = {"task": env.task.name, "seed": config.seed, "goal": str(observation["instruction"])}
    facts = record(plan, happened, observation)
    write_page(folder / "plan.html", title, observation, plan, happened, facts)
    sheet(title, observation, plan, happened).save(folder / "plan.png")
    settings = {"max_subtasks": most, **dataclasses.asdict(brush)}
    (folder / "plan.json").write_text(json.dumps({**title, **settings, "steps": facts}, indent=2), encoding="utf-8")
    print(title["goal"])
    for number, fact in enumerate(facts, 1):
        print(f"  {number:2d}. {fact['text']}  ({fact['note']}, score {fact['score']:.2f})")
    if len(plan) < most:
        print(f"  {len(plan) + 1:2d}. Done.")
    print(f"the pictures beside what the oracle made of the plan: {folder / 'plan.html'}")
    return 0
