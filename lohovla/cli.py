"""The ``lohovla`` command: finds the subcommand, composes its configuration, and says errors in two lines."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from typing import Any

from lohovla import __version__
from lohovla.errors import SetupError, UserError
from lohovla.settings.renamed_settings import refuse_old_command
from lohovla.subcommands import SUBCOMMANDS

# Packages that only an extra brings, by the name they are imported by.
EXTRAS = {
    "cbor2": "ros",
    "fastapi": "serve",
    "gguf": "gguf",
    "gym_pusht": "pusht",
    "llguidance": "serve",
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

        print("\n".join(completions(arguments[1:], SUBCOMMANDS)))
        return 0
    name, rest = arguments[0], arguments[1:]
    try:
        if name not in SUBCOMMANDS:
            refuse_old_command(name)
            nearest = difflib.get_close_matches(name, SUBCOMMANDS, n=1, cutoff=0.4)
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
        return importlib.import_module(SUBCOMMANDS[name].module).run(config) or 0
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRAS:
            raise
        command = f"lohovla {name}" + (f" {config.what}" if "what" in config else "")
        raise SetupError(f"`{command}` needs {missing}", f"pip install 'lohovla[{EXTRAS[missing]}]'") from None


def _overview() -> str:
    lines = [f"lohovla {__version__}: plan in text and images, act in continuous commands", "", "Commands:"]
    lines += [f"  {name:10s} {command.summary}" for name, command in SUBCOMMANDS.items()]
    lines += [
        "",
        "Settings are given as key=value. `lohovla COMMAND --help` shows a command's settings and examples, and",
        "`lohovla COMMAND key=value --cfg` the whole configuration, without running it.",
    ]
    return "\n".join(lines)


def _help(name: str, words: list[str]) -> str:
    from lohovla.settings.hydra_config import root_of
    from lohovla.settings.setting_help import describe_settings

    command = SUBCOMMANDS[name]
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
