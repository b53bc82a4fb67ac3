"""``lohovla completion``: completion for shells; they ask ``lohovla --complete WORD...`` what a word may become."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from omegaconf import DictConfig

from lohovla.errors import UserError

# bash splits words at "=", so what is before it is cut off there; the words come from the line itself.
_BASH = """_lohovla() {
    local words found word
    read -ra words <<< "${COMP_LINE:0:COMP_POINT}"
    [[ "${COMP_LINE:0:COMP_POINT}" == *" " ]] && words+=("")
    word="${words[${#words[@]}-1]}"
    mapfile -t found < <(lohovla --complete "${words[@]:1}" 2>/dev/null)
    [[ "$word" == *=* ]] && found=("${found[@]#"${word%%=*}="}")
    COMPREPLY=("${found[@]}")
    [[ "${#found[@]}" == 1 && "${found[0]}" == *= ]] && compopt -o nospace
}
complete -o default -F _lohovla lohovla"""
_ZSH = """_lohovla() {
    local -a found
    found=("${(@f)$(lohovla --complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    compadd -Q -S '' -- "${found[@]}" || _files
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
compdef _lohovla lohovla"""
_FISH = """complete -c lohovla -f -a '(lohovla --complete (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def run(config: DictConfig) -> int:
    """Print the script of a shell."""
    if config.what not in _SCRIPTS:
        raise UserError(
            f"there is no completion for {config.what!r}" if config.what else "no shell is named",
            "lohovla completion bash, zsh or fish",
        )
    print(_SCRIPTS[config.what])
    return 0


def completions(words: list[str], commands: Iterable[str]) -> list[str]:
    """What the last of the words after ``lohovla`` may become.

    >>> candidates(["evalu"], ["evaluate", "rollout"])
    ['evaluate']

    Args:
        words: as far as they are typed.
        commands: the names of all commands.
    """
    commands = list(commands)
    *before, word = words or [""]
    if not before:
        return sorted(name for name in (*commands, "help") if name.startswith(word))
    if before[0] not in commands:
        return sorted(name for name in commands if before == ["help"] and name.startswith(word))
    return [found for found in _settings(before[0], before[1:], word) if found.startswith(word)]


def _settings(command: str, before: list[str], word: str) -> Iterator[str]:
    from lohovla.settings.command_words import names_of, root_of
    from lohovla.settings.hydra_config import defaults_of

    root = root_of(command, before)
    try:
        config = defaults_of(root, [earlier for earlier in before if "=" in earlier])
    except UserError:  # an earlier word is wrong, which is told when the command is run
        config = defaults_of(root, [])
    key, equals, _ = word.partition("=")
    if equals:
        yield from (f"{key}={value}" for value in _values(root, config, key))
        return
    groups = {name for name in names_of(config) if any(other.startswith(f"{name}.") for other in names_of(config))}
    yield from (f"{name}=" for name in names_of(config) if name not in groups or _is_choice(name, config))
    yield from ("--help", "--cfg")


def _is_choice(name: str, config: DictConfig) -> bool:
    from lohovla.settings.command_words import GROUPS

    return name in GROUPS and name in config


def _values(root: str, config: DictConfig, key: str) -> list[str]:
    from lohovla.envs.tasks.names import TASKS
    from lohovla.extensions import GROUPS, installed
    from lohovla.settings.installed_choices import shipped_choices
    from lohovla.settings.setting_ranges import listed_kind

    if _is_choice(key, config):
        return [*shipped_choices(key), *(installed(key) if key in GROUPS else ())]
    if key in ("task", "tasks"):
        return [*TASKS, *installed("task")]
    kind = listed_kind(root, key)
    if kind is not None and kind.choices:
        return list(kind.choices)
    return ["true", "false"] if isinstance(config.get(key), bool) else []
