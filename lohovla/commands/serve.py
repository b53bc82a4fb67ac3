"""``lohovla serve policy`` and ``lohovla serve text``: serve until a signal comes."""

from __future__ import annotations

import asyncio
import difflib
import logging
import sys
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lohovla.commands.serve_checks import check_server
from lohovla.errors import SetupError, UserError
from lohovla.progress import LOG_FORMAT
from lohovla.serve.log_limits import RepeatLimit

_SERVERS = ("policy", "text")


def run(config: DictConfig) -> int:
    """Serve what ``config.what`` names; returns when the drain after SIGTERM or Ctrl-C is over."""
    if config.what not in _SERVERS:
        nearest = difflib.get_close_matches(str(config.what), _SERVERS, n=1, cutoff=0.0)[0]
        raise UserError(f"there is no server {config.what!r}", f"did you mean `lohovla serve {nearest}`?")
    logging.basicConfig(format=LOG_FORMAT, level=logging.INFO, stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.addFilter(RepeatLimit())
    if config.what == "text":
        from lohovla.commands.serve_text import serve_text

        return asyncio.run(serve_text(config))
    try:
        import msgpack  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        raise SetupError(f"a server needs {error.name}", "pip install 'lohovla[serve]'") from None
    return asyncio.run(_serve_policy(config))


async def _serve_policy(config: DictConfig) -> int:
    from lohovla.serve.policy.policy_server import PolicyServer, ServerSettings

    keys, tls = check_server(config, {"sessions": 1, "max_batch": 1}, ("max_frame_mb", "deadline", "keepalive"))
    policy, expected, about = _policy(config)
    settings = ServerSettings(
        config.host,
        config.port,
        config.sessions,
        config.max_batch,
        round(config.max_frame_mb * 2**20),
        config.deadline,
        config.drain,
        config.keepalive,
    )
    server = PolicyServer(policy, expected, about, settings, keys, tls)
    await server.warm_up()
    await server.start()
    server.drain.on_signals()
    scheme = "wss" if config.tls.cert else "ws"
    place = f"{config.host}:{server.port}"
    print(
        f"serving {about['policy']} at {scheme}://{place}; {scheme.replace('ws', 'http')}://{place}/healthz", flush=True
    )
    whole = await server.run()
    print("served to the end" if whole else "ended; the policy was still busy", flush=True)
    return 0 if whole else 1


def _policy(config: DictConfig) -> tuple[Any, Any, dict[str, Any]]:
    """The policy, what it reads, and what clients are told about both."""
    from lohovla.policies.registry import make_policy, split_settings
    from lohovla.serve.policy.observation_schema import ObservationSchema

    chosen: Any = OmegaConf.to_container(config.policy)
    env = _environment(config)
    name, policy_settings = split_settings(chosen)
    if config.checkpoint is not None and "checkpoint" not in policy_settings:
        raise UserError(f"policy {name} takes no checkpoint", "checkpoint=... is for policy=lohovla and policy=lerobot")
    if config.threads is not None:
        import torch

        torch.set_num_threads(config.threads)
    policy = make_policy(name, env, **policy_settings)
    if policy.needs_world:
        raise UserError(f"policy {name} reads the simulation itself", "serve a policy that only needs observations")
    about = {key: value for key, value in env.describe().items() if key != "task"}
    return (
        policy,
        ObservationSchema(policy.spec.observation_keys, env.observation_space.spaces),
        {"policy": name, "env": about},
    )


def _environment(config: DictConfig) -> Any:
    """What the policy's observations and actions are of: the block world, or another project's environment."""
    if config.world.name != "blocks":
        from lohovla.envs.worlds.shared import shared_world

        settings: Any = OmegaConf.to_container(config.world)
        return shared_world(settings)
    from lohovla.envs.env import BlocksEnv

    env_settings: Any = OmegaConf.to_container(config.env)
    return BlocksEnv(**env_settings)
