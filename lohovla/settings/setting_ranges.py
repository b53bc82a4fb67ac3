"""Every setting that has a range, or a default that does not tell its type, by name.

What is checked by those who use it, with words of their own, has no range here.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from omegaconf import DictConfig

from lohovla.settings.bench_setting_ranges import BENCH
from lohovla.settings.setting_types import (
    SettingType,
    either,
    flag,
    group,
    like,
    many,
    maybe,
    number,
    path,
    whole_number,
    word,
)
from lohovla.settings.training_setting_ranges import TRAINING

_SEED, _SHARE, _COUNT, _SECONDS = whole_number(0), number(0, 1), whole_number(1), number(0, above=True)
_WHERE, _NAME, _TASKS = maybe(path()), maybe(word()), many(word())
_THREE = many(number(), 3)

# The first pattern that fits counts; "COMMAND:KEY" is of one command alone.
ALLOWED: dict[str, SettingType] = {
    # of many commands
    "seed": _SEED,
    "episodes": _COUNT,
    "workers": maybe(_COUNT),
    "threads": maybe(_COUNT),
    "torch_threads": maybe(_COUNT),
    "output": _WHERE,
    "dataset": _WHERE,
    "checkpoint": _WHERE,
    "model": _WHERE,
    "adapter": _WHERE,
    "docs": path(),
    "profile": _WHERE,
    "bench:profile": flag(),
    "bench:threads": _COUNT,
    "port": whole_number(0, 65535),
    "page.port": whole_number(0, 65535),
    "block": maybe(_COUNT),
    "distill:block": _COUNT,
    "dtype": _NAME,
    "distill:dtype": word("float32", "bfloat16", "float16"),
    "tls.*": _WHERE,
    "api_keys": _WHERE,
    "drain": number(0),
    "guidance": number(0),
    "device": word(),
    "distill:device": _NAME,
    "fps": whole_number(1, 240),
    # env: the world checks its own ranges
    "env.colors": _NAME,
    "env.control_hz": number(),
    "env.drop_probability": number(),
    "env.seconds_per_action": number(),
    "env.noise.*": number(),
    "env.perturb.random": flag(),
    "env.perturb.*": whole_number(),
    "env.push.times": whole_number(),
    "env.push.random": flag(),
    "env.push.*": number(),
    "env.cameras.*.depth": flag(),
    "env.cameras.*.*": whole_number(),
    "env.cameras.*": maybe(group()),
    # world: of others
    "world.name": word(),
    "world.kind": word("metaworld", "libero", "gymnasium"),
    "world.python": _WHERE,
    "world.max_steps": maybe(_COUNT),
    "world.suites": many(word()),
    "world.push.after": whole_number(0),
    "world.push.distance": number(0, 0.5),
    "world.cameras.*.height": whole_number(8, 2048),
    "world.cameras.*.width": whole_number(8, 2048),
    "world.cameras.*.position": maybe(_THREE),
    "world.cameras.*": maybe(SettingType((str, DictConfig), "a key of the observation, or settings of a camera")),
    "world.cameras": maybe(group()),
    "world.kwargs": maybe(group()),
    "world.tasks": maybe(group()),
    "world.tasks.*": word(),
    "world.env": _NAME,
    "world.install": _NAME,
    "world.module": _NAME,
    "world.expert": _NAME,
    "world.state_names": maybe(many(word())),
    "world.action_names": maybe(many(word())),
    "world.fps": maybe(number(0, 1000, above=True)),
    # policy
    "policy.checkpoint": _WHERE,
    "policy.factory": _NAME,
    "policy.keys": maybe(group()),
    "policy.keys.*": word(),
    "policy.max_subtask_failures": whole_number(0),
    "policy.success_threshold": _SHARE,
    "policy.num_inference_steps": _COUNT,
    "policy.subtask_timeout": _SECONDS,
    "policy.n_action_steps": maybe(_COUNT),
    "policy.quality": whole_number(1, 100),
    "policy.timeout": _SECONDS,
    "policy.reconnect_timeout": number(0),
    # loop: the loop checks its own ranges
    "loop.clock": word("wall", "simulated"),
    "loop.worker": word("process", "thread"),
    "loop.delay.*": number(0),
    "loop.limits.low": _THREE,
    "loop.limits.high": _THREE,
    "loop.limits.*": _SECONDS,
    "loop.safety.deadman": flag(),
    "loop.safety.restarts": whole_number(0),
    "loop.safety.*": number(0),
    "loop.command_hz": number(),
    "loop.n_action_steps": whole_number(),
    "loop.success_threshold": _SHARE,
    "loop.max_subtask_failures": whole_number(0),
    "loop.temporal_ensemble_coeff": number(0),
    "loop.max_guidance_weight": number(),
    "loop.blend_time": number(),
    "loop.subtask_timeout": number(),
    # robot: the profile checks its own ranges
    "robot.ros_version": maybe(whole_number()),
    "robot.cameras.*.compressed": flag(),
    "robot.cameras.*.tf": flag(),
    "robot.cameras.*.depth_unit": _SECONDS,
    "robot.cameras.*.position": maybe(_THREE),
    "robot.cameras.*.rotation": maybe(_THREE),
    "robot.cameras.*.intrinsics.size": many(_COUNT, 2),
    "robot.cameras.*.intrinsics.focal": many(_SECONDS, 2),
    "robot.cameras.*.intrinsics.centre": many(number(), 2),
    "robot.cameras.*.intrinsics.distortion": many(number()),
    "robot.cameras.*.intrinsics.distortion_model": word(),
    "robot.cameras.*.intrinsics": maybe(group()),
    "robot.cameras.*.*": word(),
    "robot.cameras.*": maybe(group()),
    "robot.tool.offset.*": _THREE,
    "robot.tool.length": number(0),
    "robot.tool.check": maybe(_SECONDS),
    "robot.command.timeout": number(0),
    "robot.command.offset": maybe(group()),
    "robot.command.offset.*": _THREE,
    "robot.status": group(),
    "robot.status.*": word(),
    "robot.*.open": number(),
    "robot.*.closed": number(),
    "robot.*.effort": number(0),
    "robot.command.gain": _SECONDS,
    "robot.command.lookahead": number(0),
    "robot.guard.joint_limits.*": number(),
    "robot.guard.ttl": number(),
    "robot.guard.speed_tolerance": number(),
    "robot.guard.brake": number(),
    "robot.joints.names": many(word()),
    "robot.top_view_stride": _COUNT,
    "robot.frozen_camera_frames": whole_number(0),
    "robot.command_hz": number(),
    "robot.image_hz": number(),
    "robot.home": many(number()),
    "robot.start.*": number(),
    "robot.max_age.*": number(),
    "robot.loop": group(),
    # view
    "speed": number(0, 20, above=True),
    "checkpoints": many(path()),
    "names": many(word()),
    # rollout
    "deadman": _NAME,
    "viz": _NAME,
    # collect
    "collect:task": either(word()),
    "noise": number(0, 10),
    "disturb.probability": _SHARE,
    "disturb.start": _SHARE,
    "disturb.release": _SHARE,
    "disturb.size": number(0),
    "disturb.seconds": number(0),
    # evaluate
    "tasks": maybe(_TASKS),
    "evaluate:batch": maybe(_COUNT),
    "evaluate:planner": _NAME,
    "videos": whole_number(0),
    "videos_per_task": whole_number(0),
    # new
    "new:what": _NAME,
    "completion:what": _NAME,
    "folder": _WHERE,
    # compare, replay
    "films": whole_number(0),
    "runs": many(path()),
    "episode": maybe(SettingType((str, int), "a number, or all")),
    # generate
    "prompt": _NAME,
    "chat": maybe(flag()),
    "generate:mode": _NAME,
    "example": _NAME,
    "picture": _WHERE,
    "n": _COUNT,
    "max_tokens": _COUNT,
    "min_tokens": whole_number(0),
    "temperature": number(0),
    "top_p": number(0, 1, above=True),
    "top_k": whole_number(0),
    "min_p": _SHARE,
    "repetition_penalty": _SECONDS,
    "presence_penalty": number(),
    "frequency_penalty": number(),
    "stop": many(word()),
    "logprobs": whole_number(0),
    "confidence_threshold": maybe(number(0)),
    "block_add_threshold": maybe(_SHARE),
    "decoded_token_threshold": maybe(_SHARE),
    "width": maybe(_COUNT),
    # preview-plan
    "max_subtasks": maybe(_COUNT),
    "preview-plan:steps": _COUNT,
    "num_inference_steps": _COUNT,
    # serve
    "sessions": _COUNT,
    "max_batch": _COUNT,
    "max_frame_mb": _SECONDS,
    "deadline": _SECONDS,
    "keepalive": _SECONDS,
    "name": _NAME,
    "weights": _NAME,
    "body_mb": _SECONDS,
    "cache_mb": maybe(_SECONDS),
    "block_size": _COUNT,
    "max_num_seqs": _COUNT,
    "max_queue": whole_number(0),
    "max_num_batched_tokens": _COUNT,
    "max_model_len": maybe(_COUNT),
    "long_prefill_tokens": _COUNT,
    "step_seconds": _SECONDS,
    "long_tokens": _COUNT,
    "silent": whole_number(0),
    "max_connections": _COUNT,
    "serve-text:patience": _SECONDS,
    # ros
    "ros:seconds": _SECONDS,
    "judge": maybe(word("policy", "simulator")),
    "page.names": many(word()),
    "shared": many(word()),
    "kinds": many(word()),
    "controller_timeout": number(0),
    "write": _WHERE,
    "ros_version": whole_number(1, 2),
    "cameras": many(word()),
    "camera_hz": number(0, 200, above=True),
    **BENCH,
    **TRAINING,
}
# What may be added to with "+", beside what the defaults hold.
ADDED = (
    "recipe.model.*",
    "recipe.stages.*",
    "data.weights.*",
    "robot.*",
    "world.cameras.*",
    "world.kwargs.*",
    "world.tasks.*",
)


def listed_kind(command: str, key: str) -> SettingType | None:
    """The kind that the list gives a setting; None where there is none."""
    if key.startswith("robot.loop."):
        key = key.removeprefix("robot.")
    for name in (f"{command}:{key}", key):
        if name in ALLOWED:
            return ALLOWED[name]
    return next((kind for pattern, kind in ALLOWED.items() if "*" in pattern and _fits(key, pattern)), None)


def _fits(key: str, pattern: str) -> bool:
    """Whether a name fits a pattern, part by part."""
    parts, wanted = key.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def kind_of(command: str, key: str, default: Any) -> SettingType | None:
    """What a setting of a command takes; None where neither the list nor the default says it."""
    return listed_kind(command, key) or like(default)
