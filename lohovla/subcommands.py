"""The subcommands of ``lohovla``: where each is, what it does in a line, and examples."""

from __future__ import annotations

from dataclasses import dataclass


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


SUBCOMMANDS = {
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
            "lohovla rollout task=B policy=lohovla viz=rerun",
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
        ("lohovla data check demos/bowls", "lohovla data info demos/bowls", "lohovla data show demos/bowls episode=3"),
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
        ("lohovla new task my-task", "lohovla new world my-world", "lohovla new robot my-arm folder=robots/my-arm"),
    ),
    "completion": Subcommand(
        "lohovla.commands.completion",
        "Print what a shell needs to complete commands and settings: bash, zsh or fish.",
        ("lohovla completion bash",),
    ),
    "bench": Subcommand(
        "lohovla.commands.bench",
        "Run a benchmark: sim, data, evaluate, policy (ablations), serve (policy server), picture (sub-goals), control"
        " (loop), ros (bridge), d2f (text), ablation, engine, serve-text, model, cpu, kernels, gpu.",
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
