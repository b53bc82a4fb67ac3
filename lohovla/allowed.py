"""Every setting that has a range, or a default that does not tell its type, by name.

What is checked by those who use it, with words of their own, has no range here.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from lohovla.kinds import Kind, either, flag, group, like, many, maybe, number, path, whole, word

_SEED, _SHARE, _COUNT, _SECONDS = whole(0), number(0, 1), whole(1), number(0, above=True)
_WHERE, _NAME, _TASKS = maybe(path()), maybe(word()), many(word())
_THREE = many(number(), 3)

# The first pattern that fits counts; "COMMAND:KEY" is of one command alone.
ALLOWED: dict[str, Kind] = {
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
    "port": whole(0, 65535),
    "page.port": whole(0, 65535),
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
    "fps": whole(1, 240),
    # env: the world checks its own ranges
    "env.colors": _NAME,
    "env.control_hz": number(),
    "env.drop_probability": number(),
    "env.seconds_per_action": number(),
    "env.noise.*": number(),
    "env.cameras.*.depth": flag(),
    "env.cameras.*.*": whole(),
    "env.cameras.*": maybe(group()),
    # policy
    "policy.checkpoint": _WHERE,
    "policy.factory": _NAME,
    "policy.keys": maybe(group()),
    "policy.keys.*": word(),
    "policy.failures": whole(0),
    "policy.done": _SHARE,
    "policy.steps": _COUNT,
    "policy.limit": _SECONDS,
    "policy.execute": maybe(_COUNT),
    "policy.quality": whole(1, 100),
    "policy.timeout": _SECONDS,
    "policy.patience": number(0),
    # loop: the loop checks its own ranges
    "loop.clock": word("wall", "simulated"),
    "loop.worker": word("process", "thread"),
    "loop.delay.*": number(0),
    "loop.limits.low": _THREE,
    "loop.limits.high": _THREE,
    "loop.limits.*": _SECONDS,
    "loop.safety.deadman": flag(),
    "loop.safety.restarts": whole(0),
    "loop.safety.*": number(0),
    "loop.command_hz": number(),
    "loop.execute": whole(),
    "loop.done_at": _SHARE,
    "loop.failures": whole(0),
    "loop.decay": number(0),
    "loop.beta": number(),
    "loop.bridge": number(),
    "loop.patience": number(),
    # robot: the profile checks its own ranges
    "robot.generation": maybe(whole()),
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
    "robot.status": group(),
    "robot.status.*": word(),
    "robot.*.open": number(),
    "robot.*.closed": number(),
    "robot.*.effort": number(0),
    "robot.command.gain": _SECONDS,
    "robot.command.ahead": number(0),
    "robot.guard.joint_limits.*": number(),
    "robot.guard.ttl": number(),
    "robot.guard.margin": number(),
    "robot.guard.brake": number(),
    "robot.joints.names": many(word()),
    "robot.top_every": _COUNT,
    "robot.frozen": whole(0),
    "robot.command_hz": number(),
    "robot.image_hz": number(),
    "robot.home": many(number()),
    "robot.start.*": number(),
    "robot.fresh.*": number(),
    "robot.loop": group(),
    # rollout
    "deadman": _NAME,
    "viz": _NAME,
    # collect
    "collect:task": either(word()),
    "disturb.probability": _SHARE,
    "disturb.start": _SHARE,
    "disturb.release": _SHARE,
    "disturb.size": number(0),
    "disturb.seconds": number(0),
    # evaluate
    "tasks": maybe(_TASKS),
    "evaluate:batch": _COUNT,
    "videos": whole(0),
    # compare, replay
    "runs": many(path()),
    "episode": maybe(Kind((str, int), "a number, or all")),
    # generate
    "prompt": _NAME,
    "example": _NAME,
    "picture": _WHERE,
    "n": _COUNT,
    "max_tokens": _COUNT,
    "min_tokens": whole(0),
    "temperature": number(0),
    "top_p": number(0, 1, above=True),
    "top_k": whole(0),
    "repetition_penalty": _SECONDS,
    "stop": many(word()),
    "logprobs": whole(0),
    "accept": maybe(number(0)),
    "add": maybe(_SHARE),
    "activate": maybe(_SHARE),
    "width": maybe(_COUNT),
    # imagine
    "most": maybe(_COUNT),
    "imagine:steps": _COUNT,
    "denoise": _COUNT,
    # serve
    "sessions": _COUNT,
    "max_batch": _COUNT,
    "max_frame_mb": _SECONDS,
    "deadline": _SECONDS,
    "keepalive": _SECONDS,
    "name": _NAME,
    "weights": _NAME,
    "body_mb": _SECONDS,
    "cache_mb": _SECONDS,
    "serve-text:page": _COUNT,
    "running": _COUNT,
    "waiting": whole(0),
    "step_tokens": _COUNT,
    # ros
    "ros:seconds": _SECONDS,
    "judge": maybe(word("policy", "simulator")),
    "page.names": many(word()),
    "shared": many(word()),
    "kinds": many(word()),
    "controller_timeout": number(0),
    "write": _WHERE,
    "generation": whole(1, 2),
    "cameras": many(word()),
    "camera_hz": number(0, 200, above=True),
    # train and distill
    "recipe.stages.*.steps": _COUNT,
    "recipe.stages.*.batch": _COUNT,
    "recipe.stages.*.lr": _SECONDS,
    "recipe.stages.*.fresh": number(0, 1, above=True),
    "recipe.stages.*.tables": whole(0),
    "recipe.stages.*.weights": group(),
    "recipe.stages.*.weights.*": number(0),
    "recipe.model.stem_blocks": many(_COUNT, 2),
    "recipe.model.lora_rank": whole(0),
    "train:init": _WHERE,
    "train:pictures": _WHERE,
    "precision": word("no", "bf16", "fp16"),
    "save_seconds": number(0),
    "log_every": _COUNT,
    "norms_every": whole(0),
    "validate_every": whole(0),
    "validate_episodes": whole(0),
    "validate_tasks": _TASKS,
    "track": maybe(word("wandb", "trackio")),
    "data.tasks": maybe(_TASKS),
    "data.weights.*": number(0),
    "data.seed": _SEED,
    "data.noise.*": number(0),
    "data.workers": whole(0),
    "data.ring": _COUNT,
    "data.overfit": whole(0),
    "steps": _COUNT,
    "batch": _COUNT,
    "save_every": _COUNT,
    "distill:seconds": maybe(_SECONDS),
    "warmup": whole(0),
    "distill:decay": _SHARE,
    "distill:data": _WHERE,
    "tasks.*": number(0),
    "padding": _SHARE,
    "room": _COUNT,
    "student.targets": many(word()),
    "student.rate": _SECONDS,
    "base.rate": _SECONDS,
    "base.matrix_rate": _SECONDS,
    "*.weight_decay": number(0),
    "student.rank": _COUNT,
    "student.alpha": _SECONDS,
    "student.dropout": _SHARE,
    "student.low": _SHARE,
    "student.high": _SHARE,
    "student.truth": number(0),
    "student.schedule": word("monotone", "chain-uniform", "random"),
    "student.divergence": word("forward", "reverse"),
    "student.prompt": word("bidirectional", "causal"),
    "base.causal": _SHARE,
    "base.*": _COUNT,
    # bench
    "seconds": _SECONDS,
    "minutes": number(),
    "hz": number(),
    "clients": whole(),
    "demonstrations": _COUNT,
    "rounds": whole(),
    "repeats": _COUNT,
    "scenes": _COUNT,
    "backend": many(word()),
    "ablations": maybe(_TASKS),
    "problems": _COUNT,
    "chain_prompts": whole(0),
    "sweep": whole(0),
    "adapters": many(path()),
    "blocks": many(_COUNT),
    "answers": _COUNT,
    "tokens": _COUNT,
    "requests": _COUNT,
    "delays": many(number(0)),
    "rates": many(_COUNT),
    "trials": _COUNT,
    "faults": _COUNT,
}
# What may be added to with "+", beside what the defaults hold.
ADDED = ("recipe.model.*", "recipe.stages.*", "data.weights.*", "robot.*")


def listed(command: str, key: str) -> Kind | None:
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


def kind_of(command: str, key: str, default: Any) -> Kind | None:
    """What a setting of a command takes; None where neither the list nor the default says it."""
    return listed(command, key) or like(default)
