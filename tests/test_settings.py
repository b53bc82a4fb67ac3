"""What people type, and what settings take: every setting of every command against values of wrong kinds."""

import copy
import math
from pathlib import Path

import pytest
from omegaconf import DictConfig, ListConfig, OmegaConf

from lohovla.errors import UserError
from lohovla.settings.command_words import names_of
from lohovla.settings.hydra_config import check_values, compose
from lohovla.settings.renamed_settings import _CHOICES, _SETTINGS, new_setting
from lohovla.settings.setting_ranges import kind_of, listed_kind
from lohovla.settings.setting_types import SettingType

CONFIGS = Path(__file__).parents[1] / "configs"
ROOTS = sorted(file.stem for file in CONFIGS.glob("*.yaml"))
VARIED = [
    f"{group}={file.stem}"
    for group in ("policy", "robot", "recipe", "loop", "env", "world")
    for file in sorted((CONFIGS / group).glob("*.yaml"))
]
_ROOT = {"recipe": "train", "robot": "ros", "world": "evaluate"}  # a command that has the group
WRONG = (-1, 3, "foo", [1], {"a": 1}, None, math.nan, math.inf)


def composed(word):
    """A command's defaults, with one of the choices of a group."""
    group = word.partition("=")[0]
    return compose(_ROOT.get(group, "rollout"), [word])


@pytest.fixture(scope="module")
def configurations():
    return [
        *((root, compose(root, [])) for root in ROOTS),
        *((_ROOT.get(word.partition("=")[0], "rollout"), composed(word)) for word in VARIED),
    ]


def fits(kind: SettingType, value):
    """Whether a value is right, said once more in another way."""
    if value is None:
        return kind.null
    if isinstance(value, dict):
        return DictConfig in kind.types
    if isinstance(value, list):
        return kind.many and kind.length in (None, len(value)) and all(fits_one(kind, one) for one in value)
    return (not kind.many or kind.length in (None, 1) or kind.single) and fits_one(kind, value)


def fits_one(kind, value):
    if isinstance(value, str):
        return str in kind.types and (not kind.choices or value in kind.choices)
    if kind.types == (str,):
        return kind.many and isinstance(value, int)  # a name that looks like a number
    if not {int, float} & set(kind.types) or not math.isfinite(value):
        return False
    low = -math.inf if kind.least is None else kind.least
    high = math.inf if kind.most is None else kind.most
    return low <= value <= high and not (kind.above and value == low)


def refusal(command, key, value, defaults):
    """What is said of a value, in two lines; None where it is taken."""
    parent, _, name = key.rpartition(".")
    around = OmegaConf.select(defaults, parent) if parent else defaults
    try:
        check_values(command, OmegaConf.create({name: value}), around, f"{parent}." if parent else "")
    except UserError as error:
        return error.cause, error.remedy
    return None


def test_every_setting_refuses_what_it_cannot_be(configurations):
    said, taken = {}, set()
    for command, defaults in configurations:
        for key in names_of(defaults):
            default = OmegaConf.select(defaults, key)
            kind = kind_of(command, key, default)
            grouped = isinstance(default, DictConfig)
            for value in WRONG:
                tried = command, key, str(default), str(value)
                if tried in said or tried in taken:
                    continue
                if isinstance(value, dict) and (grouped or DictConfig in getattr(kind, "types", ())):
                    continue  # Hydra puts it into the group, whose settings are checked
                right = kind is not None and (fits(kind, value) if not grouped else value is None and kind.null)
                lines = refusal(command, key, value, defaults)
                assert (lines is None) == right, (*tried, lines)
                if lines is None:
                    taken.add(tried)
                else:
                    said[tried] = lines
                    assert key in lines[0]
                    assert "\n" not in "".join(lines)
    assert len(said) > 2 * len(taken) > 0


def test_every_number_has_a_range_and_every_null_a_kind(configurations):
    """A new setting is to be listed, with what it may be."""
    for command, defaults in configurations:
        for key in names_of(defaults):
            value = OmegaConf.select(defaults, key)
            one = value[0] if isinstance(value, ListConfig) and len(value) else value
            open_ended = one is None or isinstance(one, ListConfig)
            if (open_ended or type(one) in (int, float)) and not key.startswith("recipe.model."):
                assert listed_kind(command, key) is not None, f"{command}: {key}"


def test_the_defaults_are_right(configurations):
    for command, defaults in configurations:
        before = copy.deepcopy(defaults)
        check_values(command, defaults, before)
        assert defaults == before


def value_of(config, key):
    for part in key.split("."):
        config = config[part]
    return config


GOALS = (
    "put the red block, then the blue one",
    "put the block (red) away",
    "don't drop it!",
    "[red] first",
    "a=b",
    "Legt den roten Block in die grüne Schale",
    "this & that # really",
    'say "stop"',
    "{red}",
    "3",
    "true",
    "choose(red, blue)",
    "costs ${5} or ${x}",
    "1,2",
    "a: b",
    "two\nlines",
    "'",
    "nan",
    "1e400",
    "put 'it' there",
)


@pytest.mark.parametrize("words", GOALS)
def test_words_are_taken_as_they_stand(words):
    assert compose("ros", [f"goal={words}"]).goal == words
    assert compose("generate", [f"prompt={words}"]).prompt == words
    assert words == "a=b" or compose("generate", [words]).prompt == words


PATHS = (
    "runs/epoch=3/checkpoint",
    "my demos (1)",
    "grün/ä",
    "it's",
    "a#b",
    "a&b",
    "2024",
    "a~b",
    "x,y",
    "C:\\new\\table",
)


@pytest.mark.parametrize("path", PATHS)
def test_paths_are_taken_as_they_stand(path):
    assert compose("rollout", ["policy=lohovla", f"policy.checkpoint={path}"]).policy.checkpoint == path
    assert compose("serve", [f"checkpoint={path}"]).policy.checkpoint == path  # and go where they are referred to
    assert compose("collect", [f"dataset={path}"]).dataset == path
    assert compose("data", ["check", path]).dataset == path
    assert list(compose("compare", [path, "other"]).runs) == [path, "other"]


def test_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert compose("rollout", ["output=~/runs"]).output == "/home/someone/runs"
    assert list(compose("compare", ["~/a", "b"]).runs) == ["/home/someone/a", "b"]


@pytest.mark.parametrize(
    ("command", "word", "key", "value"),
    [
        ("generate", "a=1; b=2: a+b=", "prompt", "a=1; b=2: a+b="),
        ("ros", "goal='put it there'", "goal", "put it there"),
        ("ros", 'goal="[red]"', "goal", "[red]"),
        ("rollout", "output=null", "output", None),
        ("rollout", "output=${task}/a", "output", "put-block-into-matching-bowl/a"),
        ("rollout", "control=pick_place", "env.control", "pick_place"),
        ("collect", "task=[B,E]", "task", ["B", "E"]),
        ("collect", "task=B", "task", "B"),
        ("evaluate", "tasks=B", "tasks", ["B"]),
        ("evaluate", "tasks=[B,K]", "tasks", ["B", "K"]),
        ("generate", "stop=;", "stop", [";"]),
        ("generate", "stop=[3]", "stop", ["3"]),
        ("rollout", "env.noise={color: 4, depth: 0.002}", "env.noise.color", 4),
        ("rollout", "env.cameras.wrist=null", "env.cameras.wrist", None),
        ("rollout", "env.cameras.front={width: 64, height: 48}", "env.cameras.front.width", 64),
        ("train", "+recipe.stages.planning.weights.progress=0.1", "recipe.stages.planning.weights.progress", 0.1),
        ("train", "+recipe.model.stem_dim=64", "recipe.model.stem_dim", 64),
        ("train", "data.weights.pick-and-place-primitive=2", "data.weights.pick-and-place-primitive", 2),
        ("ros", "+robot.loop.limits.velocity=0.1", "robot.loop.limits.velocity", 0.1),
    ],
)
def test_what_else_is_typed(command, word, key, value):
    if word.startswith("+recipe.stages.planning"):
        word = word.removeprefix("+")
    assert value_of(compose(command, [word]), key) == value


def test_settings_are_checked_inside_what_is_added():
    for word in (
        "+robot.loop.limits.velocity=fast",
        "+robot.loop.limits=fast",
        "+robot.loop.chunking_mode=3",
        "env.cameras.front={width: wide}",
        "+recipe.stages.detector.symbolic_batch=-1",
    ):
        command = "train" if "recipe" in word else "ros" if "robot" in word else "rollout"
        with pytest.raises(UserError, match=r"cannot be|must be at least"):
            compose(command, [word])


def test_a_policy_of_ones_own_takes_anything():
    config = compose("rollout", ["policy=custom", "policy.factory=mine:make", "+policy.size=3", "+policy.name_of=a=b"])
    assert dict(config.policy) == {"name": "custom", "factory": "mine:make", "size": 3, "name_of": "a=b"}


def command_of(key):
    """A command line that has the setting, or had it by an old name: the command, and the words for its group."""
    command, _, own = key.rpartition(":")
    group = key.partition(".")[0]
    remote = key in ("policy.coding", "policy.patience")
    words = {"policy": ["policy=remote" if remote else "policy=lohovla"]}.get(group, [])
    usual = {"robot": "ros", "recipe": "train", "data": "train"}.get(group, "rollout")
    return command or usual, own, words


@pytest.mark.parametrize("key", _SETTINGS)
def test_an_old_setting_is_refused_with_its_new_name(key):
    command, old, words = command_of(key)
    new = new_setting(command, old)
    there = OmegaConf.select(compose(command, words), new, default=words) is not words
    assert there or key.startswith("recipe.model.")  # what a model is made with is in recipes where they differ
    assert old not in names_of(compose(command, words))
    group, _, last = old.rpartition(".")
    typed = [f"{old}=1", f"+{old}=1"] + ([f"{group}={{{last}: 1}}"] if "." in group else [])
    for word in typed:
        with pytest.raises(UserError) as refused:
            compose(command, [*words, word])
        assert refused.value.cause == f"the setting {old} is called {new} now", word


@pytest.mark.parametrize(("key", "value"), _CHOICES)
def test_an_old_choice_is_refused_with_its_new_name(key, value):
    words = ["policy=lohovla"] if key == "policy.replan" else []
    command = "train" if key == "stage" else "rollout"
    with pytest.raises(UserError, match=f"{key}={value} is called {key}={_CHOICES[key, value]} now"):
        compose(command, [*words, f"{key}={value}"])
    compose(command, [*words, f"{key}={_CHOICES[key, value]}"])


def test_an_old_name_in_an_old_group_leads_to_both_new_ones():
    assert new_setting("ros", "robot.fresh.acted") == "robot.max_age.observation"
    assert new_setting("ros", "robot.loop.safety.hold") == "robot.loop.safety.hold_timeout"
    assert new_setting("rollout", "generation") is None  # of another command
    assert new_setting("generate", "stop") is None
