"""The ``lohovla`` command: finds the subcommand, composes its configuration, and says errors in two lines."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from dataclasses import dataclass
from typing import Any

from lohovla import __version__
from lohovla.errors import SetupError, UserError
from lohovla.settings.renamed_settings import refuse_old_command

# Packages that only an extra brings, by the name they are imported by.
EXTRAS = {
    "cbor2": "ros",
    "fastapi": "serve",
    "gguf": "gguf",
    "msgpack": "serve",
    "mujoco_menagerie": "menagerie",
    "ray": "ray",
    "rclpy": "ros2",
    "rerun": "viz",
    "rosbags": "ros",
    "trackio": "trackio",
    "triton": "gpu",
    "uvicorn": "serve",
    "wandb": "wandb",
    "websockets": "serve",
}


@dataclass(frozen=True)
class Subcommand:
    """A subcommand.

    Attributes:
        module: where its ``run(config)`` is.
        summary: one line of help.
        examples: whole command lines that work.
    """

    module: str
    summary: str
    examples: tuple[str, ...]


COMMANDS = {
    "demo": Subcommand(
        "lohovla.commands.rollout",
        "Solve a long-horizon task and film it.",
        ("lohovla demo", "lohovla demo task=stack-blocks-with-alternate-color seed=10003"),
    ),
    "rollout": Subcommand(
        "lohovla.commands.rollout",
        "Run a policy on a task: result, video and contact sheet.",
        (
            "lohovla rollout task=put-block-into-matching-bowl policy=oracle seed=10001",
            "lohovla rollout task=K control=pick_place episodes=5 video=false",
            "lohovla rollout task=H env.drop_probability=0.1 env.noise.color=5",
            "lohovla rollout realtime=true loop.chunking_mode=ensemble viz=rerun",
        ),
    ),
    "view": Subcommand(
        "lohovla.commands.view",
        "A live page: watch a policy, type goals, switch policies, move the arm by hand.",
        (
            "lohovla view",
            "lohovla view task=E control=pick_place policy=oracle port=8030",
            "lohovla view checkpoints=[runs/mine/checkpoint]",
        ),
    ),
    "tasks": Subcommand(
        "lohovla.commands.tasks",
        "List the tasks; with pictures=true also write docs/tasks.md.",
        ("lohovla tasks", "lohovla tasks pictures=true"),
    ),
    "collect": Subcommand(
        "lohovla.commands.collect",
        "Record demonstrations as a LeRobot data set.",
        (
            "lohovla collect task=put-block-into-matching-bowl episodes=20 dataset=demos/bowls",
            "lohovla collect task=[B,E] episodes=100 control=pick_place workers=2 dataset=demos/mixed",
            "lohovla collect world=metaworld policy=expert task=[push-v3,reach-v3] episodes=100 dataset=demos/mw",
        ),
    ),
    "replay": Subcommand(
        "lohovla.commands.replay",
        "Replay a recorded episode and compare every byte.",
        ("lohovla replay demos/bowls episode=3",),
    ),
    "data": Subcommand(
        "lohovla.commands.data",
        "Check a data set (check), or print what is in it (info).",
        ("lohovla data check demos/bowls", "lohovla data info demos/bowls"),
    ),
    "evaluate": Subcommand(
        "lohovla.commands.evaluate",
        "Measure a policy's success rate on a suite of tasks, with confidence intervals and a report.",
        (
            "lohovla evaluate suite=lohoravens policy=oracle control=pick_place episodes=20",
            "lohovla evaluate tasks=[B,K] policy=random workers=2",
            "lohovla evaluate world=metaworld tasks=[push-v3,easy] policy=expert episodes=20",
            "lohovla evaluate planner=symbolic episodes=20",
        ),
    ),
    "compare": Subcommand(
        "lohovla.commands.compare",
        "Compare evaluation runs, in total and episode by episode.",
        ("lohovla compare outputs/evaluate/a outputs/evaluate/b",),
    ),
    "generate": Subcommand(
        "lohovla.commands.generate",
        "Generate text, autoregressively or by discrete diffusion forcing, and show it as it is decoded.",
        (
            'lohovla generate "7480+1100-1691="',
            "lohovla generate example=open-plan mode=d2f+branch",
            'lohovla generate "4782+0934-0075=" model=GSAI-ML/LLaDA-8B-Instruct temperature=0.7 n=3',
        ),
    ),
    "distill": Subcommand(
        "lohovla.commands.distill",
        "Distil a D2F adapter, with which a diffusion language model decodes several blocks at once.",
        (
            "lohovla distill steps=600 output=outputs/distill/mine",
            "lohovla distill model=GSAI-ML/LLaDA-8B-Instruct data=examples.jsonl student.rate=1e-5 dtype=bfloat16",
            "lohovla distill stage=base output=outputs/distill/base",
        ),
    ),
    "serve": Subcommand(
        "lohovla.commands.serve",
        "Serve a policy to robots and evaluations elsewhere (`policy`), or text to OpenAI's clients (`text`).",
        (
            "lohovla serve policy checkpoint=outputs/train/mine port=8000",
            "lohovla serve policy policy=random control=pick_place port=8001 sessions=8",
            "lohovla serve text",
            "lohovla serve text model=outputs/distill/base/model adapter=outputs/distill/mine/adapter port=8081",
        ),
    ),
    "train": Subcommand(
        "lohovla.commands.train",
        "Train on LeRobot data sets of any robot (dataset=...), or the block world's model on drawn scenes.",
        (
            "lohovla train dataset=demos/mine steps=20000 output=outputs/train/mine",
            "lohovla train dataset=OWNER/NAME init=outputs/train/mine/checkpoint freeze=[vision]",
            "lohovla train recipe=nano output=outputs/train/nano",
            "lohovla train stage=detector threads=2 recipe.stages.detector.steps=100",
            "lohovla train init=outputs/train/new subgoal_checkpoint=nano stage=subgoal",
        ),
    ),
    "preview-plan": Subcommand(
        "lohovla.commands.preview_plan",
        "Predict a whole plan in words and pictures, and show it beside its execution by the oracle.",
        (
            "lohovla preview-plan task=put-block-into-matching-bowl seed=10001",
            "lohovla preview-plan task=E seed=10003 order=raster",
        ),
    ),
    "ros": Subcommand(
        "lohovla.commands.ros",
        "Run a policy on a ROS robot, over rosbridge.",
        (
            'lohovla ros robot=ur5e goal="put the red block in the red bowl" dry_run=true',
            "lohovla ros robot=sim policy=chunked-oracle enable=always",
            "lohovla ros robot=sim policy=chunked-oracle enable=always episodes=5 seed=10001",
        ),
    ),
    "ros-sim": Subcommand(
        "lohovla.commands.ros_sim",
        "Run the simulator as a ROS robot behind rosbridge.",
        ("lohovla ros-sim", "lohovla ros-sim task=K seed=10003 port=9091 ros_version=1"),
    ),
    "ros-guard": Subcommand(
        "lohovla.commands.ros_guard",
        "Run the guard on the robot's side: it relays valid commands, and brakes the arm when they stop coming.",
        (
            "lohovla ros-guard robot=ur5e",
            "lohovla ros-guard robot=ur5e write=guard.pyz",
            "lohovla ros-guard robot=sim transport=rosbridge enable=always",
        ),
    ),
    "new": Subcommand(
        "lohovla.commands.new",
        "Create a package with a policy, a task or a robot profile of your own, and its test.",
        ("lohovla new task my-task", "lohovla new policy my-policy", "lohovla new robot my-arm folder=robots/my-arm"),
    ),
    "completion": Subcommand(
        "lohovla.commands.completion",
        "Print what a shell needs to complete commands and settings: bash, zsh or fish.",
        ("lohovla completion bash",),
    ),
    "bench": Subcommand(
        "lohovla.commands.bench",
        "Run a benchmark: sim, data, evaluate, policy (ablations), serve (policy server), picture (sub-goals), control (loop),"
        " ros (bridge), d2f (text), ablation, engine, serve-text, model, cpu, kernels, gpu.",
        (
            "lohovla bench sim",
            "lohovla bench sim seconds=10 workers=1 profile=true",
            "lohovla bench policy tasks=[A,B,E] episodes=20",
            "lohovla bench serve minutes=1",
            "lohovla bench picture scenes=2",
            "lohovla bench d2f problems=5",
            "lohovla bench ablation students=[monotone,random] steps=10 problems=8 output=outputs/ablation",
            "lohovla bench engine modes=[d2f,ar]",
            "lohovla bench serve-text requests=1000 clients=32",
            "lohovla bench control study=joins trials=20 delays=[0.0,0.2]",
            "lohovla bench ros seconds=30",
            "lohovla bench gpu dry=true",
        ),
    ),
}


def main(arguments: list[str] | None = None) -> int:
    """Run ``lohovla`` with ``arguments`` (the process's own if None); returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] == "help":  # `lohovla help evaluate`
        arguments = [*arguments[1:], "--help"]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if arguments[0] in ("-V", "--version"):
        print(f"lohovla {__version__}")
        return 0
    if arguments[0] == "--complete":  # asked by what `lohovla completion` prints
        from lohovla.commands.completion import completions

        print("\n".join(completions(arguments[1:], COMMANDS)))
        return 0
    name, rest = arguments[0], arguments[1:]
    try:
        if name not in COMMANDS:
            refuse_old_command(name)
            nearest = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.4)
            raise UserError(
                f"there is no command {name!r}",
                f"did you mean `lohovla {nearest[0]}`?" if nearest else "`lohovla --help` lists them",
            )
        if "-h" in rest or "--help" in rest:
            print(_help(name, rest))
            return 0
        if "--cfg" in rest:
            print(_configuration(name, rest))
            return 0
        from lohovla.settings.hydra_config import compose, root_of

        config = compose(root_of(name, rest), rest)
        code = _run(name, config)
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"lohovla: {error.cause}\n         {error.remedy}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("lohovla: interrupted; what was finished is kept", file=sys.stderr)
        return 130


def _run(name: str, config: Any) -> int:
    try:
        return importlib.import_module(COMMANDS[name].module).run(config) or 0
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRAS:
            raise
        command = f"lohovla {name}" + (f" {config.what}" if "what" in config else "")
        raise SetupError(f"`{command}` needs {missing}", f"pip install 'lohovla[{EXTRAS[missing]}]'") from None


def _overview() -> str:
    lines = [f"lohovla {__version__}: plan in text and images, act in continuous commands", "", "Commands:"]
    lines += [f"  {name:10s} {command.summary}" for name, command in COMMANDS.items()]
    lines += [
        "",
        "Settings are given as key=value. `lohovla COMMAND --help` shows a command's settings and examples, and",
        "`lohovla COMMAND key=value --cfg` the whole configuration, without running it.",
    ]
    return "\n".join(lines)


def _help(name: str, words: list[str]) -> str:
    from lohovla.settings.hydra_config import root_of
    from lohovla.settings.setting_help import describe_settings

    command = COMMANDS[name]
    lines = [f"lohovla {name}: {command.summary}", "", "Examples:"]
    lines += [f"  {example}" for example in command.examples]
    words = [word for word in words if word not in ("-h", "--help")]
    return "\n".join([*lines, "", describe_settings(root_of(name, words), words)])


def _configuration(name: str, words: list[str]) -> str:
    """The whole configuration that a command line stands for, as YAML."""
    from omegaconf import OmegaConf

    from lohovla.settings.hydra_config import compose, root_of

    words = [word for word in words if word != "--cfg"]
    return OmegaConf.to_yaml(compose(root_of(name, words), words)).rstrip()


if __name__ == "__main__":
    sys.exit(main())
