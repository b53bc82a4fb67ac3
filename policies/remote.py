"""A policy that runs elsewhere: behind a policy server of ours, or of others that speak the openpi wire.

``lohovla.client.policy_client`` is the client; it depends on no server and no policy.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lohovla.errors import SetupError, UserError
from lohovla.policies.base import Context, Decision, Policy, PolicySpec

_CONNECT_TIMEOUT = 5.0  # s: long enough for a server that is being started again, short for a wrong address


class RemotePolicy(Policy):
    """Looks like the policy that the server runs; each slot is a session with it.

    Args:
        env: the environment to act in: its action space is checked against the server's.
        url: ``ws://host:port`` or ``wss://...``.
        api_key: what the server asks for, if it does.
        keys: for a server of others, what it calls the observations: its names, with ours as values.
            None sends ours.
        actions: what it calls the actions in its reply.
        n_action_steps: how many actions of each chunk to carry out; all if None.
        image_encoding: of colour pictures, ``raw``, ``png`` or ``jpeg``; the last changes pixels. Servers of others
            take raw.
        quality: of JPEG.
        timeout: seconds to wait for a reply.
        reconnect_timeout: seconds to go on when a connection breaks.

    Raises:
        UserError: there is no server, or its policy is for something else.
        SetupError: the packages for it are missing.
    """

    def __init__(
        self,
        env: Any,
        url: str,
        api_key: str | None = None,
        keys: Mapping[str, str] | None = None,
        actions: str = "actions",
        n_action_steps: int | None = None,
        image_encoding: str = "raw",
        quality: int = 90,
        timeout: float = 10.0,
        reconnect_timeout: float = 30.0,
    ):
        try:
            from lohovla.client.image_codec import CODINGS
            from lohovla.client.policy_client import PolicyClient
        except ImportError as error:
            raise SetupError(f"policy=remote needs {error.name}", "pip install 'lohovla[serve]'") from None
        if image_encoding not in CODINGS:
            raise UserError(
                f"policy.image_encoding cannot be {image_encoding!r}", f"choose one of {', '.join(CODINGS)}"
            )
        if n_action_steps is not None and n_action_steps < 1:
            raise UserError(
                f"policy.n_action_steps cannot be {n_action_steps}",
                "it is at least 1, which asks again after every action",
            )
        self._connect = lambda: PolicyClient(url, api_key, timeout, reconnect_timeout, reconnect_timeout)
        self._clients: dict[int, PolicyClient] = {}
        # Also when the process ends, before its threads are stopped: a connection that is closed later waits for them.
        weakref.finalize(self, _leave, self._clients)
        probe = PolicyClient(url, api_key, timeout, connect_timeout=min(reconnect_timeout, _CONNECT_TIMEOUT))
        probe.close()
        self._ours, self._url = probe.is_ours, url
        self._image_encoding, self._quality = image_encoding, quality
        self._actions, self._n_action_steps = actions, n_action_steps
        if not self._ours and image_encoding != "raw":
            raise UserError(f"{url} is not a lohovla server", "policy.image_encoding=raw is what it understands")
        served = _served_spec(probe.metadata, url) if self._ours else None
        self._keys = dict(keys or {key: key for key in (served.observation_keys if served else env.observation_space)})
        if served:
            _check(served, probe.metadata, env, url, self._keys)
        unknown = set(self._keys.values()) - set(env.observation_space)
        if unknown:
            raise UserError(
                f"there is no observation {sorted(unknown)[0]!r} here",
                f"choose one of {', '.join(env.observation_space)}",
            )
        self.spec = PolicySpec(
            tuple(self._keys.values()),
            env.control,
            env.action_space.shape,
            n_action_steps or (served.horizon if served else 1),
            served.control_hz if served else env.control_hz,
            served.emits if served else frozenset(),
        )

    def reset(self, seed: int, slot: int = 0) -> None:
        """Begin an episode in the slot's session with its next observation."""
        if slot not in self._clients:
            self._clients[slot] = self._connect()
        self._clients[slot].reset(seed)

    def act(self, observation: Mapping[str, Any], context: Context) -> Decision:
        """Ask the server."""
        return self.act_batch([observation], [context])[0]

    def act_batch(self, observations: Sequence[Mapping[str, Any]], contexts: Sequence[Context]) -> list[Decision]:
        """Ask for all slots before waiting for any, so that the server can decide for them together."""
        from lohovla.client.request_error import RequestError

        for observation, context in zip(observations, contexts, strict=True):
            extras = {"step": context.step, "reward": float(context.reward)} if self._ours else {}
            self._clients[context.slot].send(self._message(observation), **extras)
        try:
            return [self._decision(self._clients[context.slot].receive()) for context in contexts]
        except RequestError as error:
            raise UserError(f"{self._url}: {error}", "the server's log says more") from None

    def close(self) -> None:
        """Leave the server."""
        _leave(self._clients)

    def _message(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        from lohovla.client.image_codec import encode_picture

        message = {}
        for theirs, ours in self._keys.items():
            value = observation[ours]
            message[theirs] = (
                encode_picture(value, self._image_encoding, self._quality) if ours.startswith("images.") else value
            )
        return message

    def _decision(self, reply: Mapping[str, Any]) -> Decision:
        if self._actions not in reply:
            raise UserError(
                f"{self._url} replies without {self._actions!r}", f"policy.actions is one of {sorted(reply)}"
            )
        actions = np.asarray(reply[self._actions], np.float32)
        if actions.ndim < 1 or not len(actions) or actions.shape[1:] != self.spec.action_shape:
            raise UserError(
                f"{self._url} gives actions of shape {actions.shape}, not (H, *{self.spec.action_shape})",
                "its policy is for another robot or control mode",
            )
        if not np.isfinite(actions).all():
            raise UserError(f"{self._url} gives actions that are not finite", "check the policy that it serves")
        timing = {name.removesuffix("_ms"): float(value) for name, value in reply.get("server_timing", {}).items()}
        return Decision(
            actions[: self._n_action_steps],
            str(reply.get("subtask", "")),
            bool(reply.get("planned", False)),
            reply.get("subgoal"),
            float(reply.get("progress", 0.0)),
            {**timing, "round_trip": reply["round_trip_ms"]},
            str(reply.get("over", "")),
            float(reply.get("way", 0.0)),
        )


def _leave(clients: dict[int, Any]) -> None:
    """Close the connections of a policy."""
    for client in clients.values():
        client.close()
    clients.clear()


def _served_spec(metadata: Mapping[str, Any], url: str) -> PolicySpec:
    try:
        spec = metadata["spec"]
        return PolicySpec(
            tuple(spec["observation_keys"]),
            spec["control"],
            tuple(spec["action_shape"]),
            spec["horizon"],
            spec["control_hz"],
            frozenset(spec["emits"]),
        )
    except (KeyError, TypeError):
        raise UserError(f"{url} does not describe its policy", "serve it with the same version of lohovla") from None


def _check(served: PolicySpec, metadata: Mapping[str, Any], env: Any, url: str, keys: Mapping[str, str]) -> None:
    """Refuse what could not work, before an episode begins."""
    if served.control != env.control:
        raise UserError(f"the policy at {url} is for control={served.control}", f"give control={served.control}")
    if served.action_shape != env.action_space.shape:
        raise UserError(
            f"the policy at {url} gives actions {served.action_shape}", f"this environment takes {env.action_space}"
        )
    for theirs, ours in keys.items():
        wanted = metadata.get("observations", {}).get(theirs, {}).get("shape")
        space = env.observation_space.spaces.get(ours)
        if wanted is not None and space is not None and tuple(wanted) != space.shape:
            raise UserError(
                f"the policy at {url} wants {theirs} of shape {tuple(wanted)}, not {space.shape}",
                f"set the camera with env.cameras.{ours.partition('.')[2]}.width and height",
            )
