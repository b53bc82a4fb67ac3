"""Closed-loop validation while training runs: episodes of validation seeds, played with the averaged weights."""

from __future__ import annotations

from collections.abc import Sequence

from lohovla.collect.rendered_scenes import scene_env
from lohovla.evaluate.episode_runner import EpisodeRunner, run_batch
from lohovla.evaluate.protocol import seeds_of
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.processor import Processor
from lohovla.policies.lohovla import LoHoVLAPolicy, LoHoVLAPolicyConfig


def closed_loop(
    model: LoHoVLA, processor: Processor, control: str, tasks: Sequence[str], episodes: int
) -> dict[str, float]:
    """Success and score by task, over the first validation seeds."""
    figures = {}
    for task in tasks:
        envs = [scene_env(task, control) for _ in range(episodes)]
        policy = LoHoVLAPolicy(envs[0], model, processor, LoHoVLAPolicyConfig())
        seeds = seeds_of("val", episodes)
        plays = [EpisodeRunner(env, seed, slot) for slot, (env, seed) in enumerate(zip(envs, seeds, strict=True))]
        for play in plays:
            policy.reset(play.seed, play.slot)
        run_batch(plays, policy)
        results = [play.result() for play in plays]
        figures[f"{task}/{control}/success"] = sum(result.success for result in results) / episodes
        figures[f"{task}/{control}/score"] = sum(result.score for result in results) / episodes
    return figures
