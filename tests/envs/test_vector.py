"""The batched environment gives what its environments give one by one, and resets as Gymnasium says."""

import functools

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import create_shared_memory, read_from_shared_memory, write_to_shared_memory

import lohovla.envs  # noqa: F401
from lohovla.envs.env import BlocksEnv
from lohovla.envs.instruction_space import InstructionSpace
from lohovla.envs.oracle import pick_place_action
from lohovla.envs.vector import BlocksVectorEnv

TASK = "pick-and-place-primitive"
MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP]


def oracle_actions(envs):
    """The solving action of each environment, whatever state it is in."""
    actions = []
    for env in envs:
        scene = env.scene()
        subtask = env.problem.goal.next(scene)
        nothing = np.array([[0.3, -0.45, 0, 0]] * 2, np.float32)
        actions.append(pick_place_action(scene, subtask) if subtask else nothing)
    return np.stack(actions)


def same(left, right):
    """Whether two batches of observations, or of infos, hold the same bytes."""
    assert left.keys() == right.keys()
    for key, value in left.items():
        if isinstance(value, dict):
            same(value, right[key])
        elif isinstance(value, np.ndarray) and value.dtype == object:
            for a, b in zip(value, right[key], strict=True):
                assert (a is None) == (b is None)
                if isinstance(a, dict):
                    same(a, b)
                else:
                    assert a == b
        else:
            np.testing.assert_array_equal(value, right[key], err_msg=key)


@pytest.mark.parametrize("mode", MODES)
def test_it_equals_gymnasiums_own_vector_environment(mode):
    settings = {"task": TASK, "control": "pick_place", "cameras": {"top": {"width": 32, "height": 16}}}
    ours = BlocksVectorEnv(3, threads=2, autoreset_mode=mode, **settings)
    theirs = SyncVectorEnv([lambda: BlocksEnv(**settings)] * 3, autoreset_mode=mode)
    same(ours.reset(seed=20)[0], theirs.reset(seed=20)[0])
    ended = 0
    for _ in range(6):
        actions = oracle_actions(ours.envs)
        mine, reference = ours.step(actions), theirs.step(actions)
        for a, b in zip(mine[:4], reference[:4], strict=True):
            same({"": a} if isinstance(a, np.ndarray) else a, {"": b} if isinstance(b, np.ndarray) else b)
        same(mine[4], reference[4])
        ended += int(mine[2].sum())
    assert ended >= 6  # episodes ended, so the comparison covers resets
    ours.close()
    theirs.close()


def test_disabled_autoreset_wants_a_reset_of_those_that_ended():
    env = BlocksVectorEnv(2, autoreset_mode="Disabled", task=TASK, control="pick_place", cameras={})
    env.reset(seed=4)
    terminated = np.zeros(2, bool)
    while not terminated.any():
        _, _, terminated, _, _ = env.step(oracle_actions(env.envs))
    with pytest.raises(ValueError, match="ended: reset them first"):
        env.step(oracle_actions(env.envs))
    untouched = {i: env.envs[i].simulation.time for i in np.flatnonzero(~terminated)}
    env.reset(options={"reset_mask": terminated})
    assert all(env.envs[i].simulation.time == time for i, time in untouched.items())
    env.step(oracle_actions(env.envs))
    env.close()


def test_threads_do_not_change_a_byte_also_of_the_pictures():
    batches = []
    for threads in (1, 4):
        env = BlocksVectorEnv(4, threads=threads, task=TASK, cameras={"wrist": {"width": 48, "height": 48}})
        env.reset(seed=6)
        action = np.tile(np.array([0.5, 0.1, 0.2, 0, 0, 0.3, 0], np.float32), (4, 1))
        for _ in range(4):
            batch = env.step(action)[0]
        batches.append(batch)
        env.close()
    same(*batches)


def test_observations_lie_in_the_batched_space_and_are_the_callers_own():
    env = BlocksVectorEnv(2, task=TASK, cameras={"top": {"width": 32, "height": 16, "depth": True}})
    first, _ = env.reset(seed=8)
    kept = first["state"].copy()
    assert env.observation_space.contains(first)
    env.step(np.tile(np.array([0.6, -0.2, 0.3, 0, 0, 0, 0], np.float32), (2, 1)))
    np.testing.assert_array_equal(first["state"], kept)
    env.close()


def test_make_vec_finds_it():
    env = gym.make_vec(
        "lohovla/PickAndPlacePrimitive-v1", num_envs=2, vectorization_mode="vector_entry_point", cameras={}
    )
    assert isinstance(env.unwrapped, BlocksVectorEnv)
    env.reset(seed=2)
    env.close()


def words_of(env):
    """The instructions after a reset, after a step, and after a reset to others."""
    first = env.reset(seed=[20, 21])[0]
    stepped = env.step(np.tile(np.array([0.5, 0.1, 0.2, 0, 0, 0, 0], np.float32), (2, 1)))[0]
    assert env.observation_space.contains(first)
    words = [list(observation["instruction"]) for observation in (first, stepped, env.reset(seed=[22, 23])[0], first)]
    env.close()
    return words


@pytest.mark.parametrize("context", ["fork", "spawn"])
@pytest.mark.parametrize("shared_memory", [True, False])
def test_instructions_arrive_whole_from_gymnasiums_processes(shared_memory, context):
    """Through shared memory, too, of which Gymnasium reads texts only once, before there are any."""
    make = functools.partial(BlocksEnv, TASK, cameras={})
    expected = words_of(SyncVectorEnv([make] * 2))
    assert len({*expected[0], *expected[2]}) > 1  # so that the wrong one would be seen
    assert expected[0] == expected[1] == expected[3]
    theirs = AsyncVectorEnv([make] * 2, shared_memory=shared_memory, context=context)
    assert words_of(theirs) == expected


def test_an_instruction_that_does_not_fit_shared_memory_is_not_cut():
    space = InstructionSpace()
    memory = create_shared_memory(space, n=2)
    with pytest.raises(ValueError, match="161 characters, where 160 fit"):
        write_to_shared_memory(space, 1, "a" * 161, memory)
    write_to_shared_memory(space, 1, "b" * 160, memory)
    assert list(read_from_shared_memory(space, memory, n=2)) == ["", "b" * 160]


def test_the_wrong_number_of_seeds_is_refused():
    env = BlocksVectorEnv(2, task=TASK, cameras={})
    with pytest.raises(ValueError, match="3 seeds for 2"):
        env.reset(seed=[1, 2, 3])
    env.close()
