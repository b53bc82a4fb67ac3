"""``lohovla view``: the simulated table as a live page, to watch, to talk to and to take part in."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lohovla.progress import LOG_FORMAT


def run(config: DictConfig) -> int:
    """Serve the page until a signal comes."""
    from lohovla.envs.tasks.registry import get_task
    from lohovla.view.live_view import LiveView
    from lohovla.view.view_page import ViewPage

    logging.basicConfig(format=LOG_FORMAT, level=logging.INFO, stream=sys.stderr)
    logging.getLogger("OpenGL").setLevel(logging.WARNING)
    choices = policy_choices(config)
    env: Any = OmegaConf.to_container(config.env)
    begins = next(iter(choices))
    view = LiveView(env, choices, get_task(config.task).name, config.seed, begins, config.speed)
    try:
        page = ViewPage(view, config.host, config.port, list(config.names))
    except BaseException:
        view.close()
        raise
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    print(f"the table is at {page.url} ; Ctrl-C ends it", flush=True)
    stop.wait()
    page.close()
    view.close()
    return 0


def policy_choices(config: DictConfig) -> dict[str, Any]:
    """The policies that the page offers: the chosen one first, then the shipped ones, checkpoints and packages'."""
    from lohovla.extensions import installed
    from lohovla.policies.registry import split_settings
    from lohovla.view.live_episode import PolicyChoice

    chosen: Any = OmegaConf.to_container(config.policy)
    name, settings = split_settings(chosen)
    checkpoint = settings.get("checkpoint")
    label = f"{name} ({checkpoint})" if checkpoint else name
    choices = {label: PolicyChoice(name, _watched(name, settings))}
    for other in ("lohovla", "oracle", "random", *installed("policy")):
        choices.setdefault(other, PolicyChoice(other, _watched(other, {})))
    for path in config.checkpoints:
        settings = _watched("lohovla", {"checkpoint": path})
        choices.setdefault(f"lohovla ({path})", PolicyChoice("lohovla", settings))
    return choices


def _watched(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a policy that is watched: the model judges for itself, as on a robot, and shows its sub-goals."""
    from lohovla.policies.registry import judging_for_itself

    return judging_for_itself(settings, True, generate_subgoals=True) if name == "lohovla" else settings
