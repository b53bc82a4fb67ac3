"""Action scalings, and chunks denoised with any number of steps and any prefix."""

import math

import pytest
import torch

from lohovla.errors import UserError
from lohovla.model.action.action_expert import (
    ee_waypoints,
    modulo_quarter_turn,
    scale_ee,
    scale_pick_place,
    unscale_ee,
    unscale_pick_place,
)
from lohovla.model.checkpoint import check_model_settings, load_checkpoint, save_checkpoint
from lohovla.model.inference import action_sampling, pick_place_prediction
from lohovla.model.inference.action_sampling import ActionContext

STILL = torch.zeros(3, 4)  # no motion of the commands before


@pytest.fixture(scope="module")
def attended(tiny, inputs):
    model, processor = tiny
    prefix = model.encode(inputs)
    said = processor.tokenizer.encode("Pick up the red block and place it on the table.", add_special_tokens=False)
    words = pick_place_prediction.subtask_from_tokens(
        model, prefix, [said, said[:4], []], processor.tokenizer.bos_token_id
    )
    return ActionContext.from_predictions(pick_place_prediction.predict_pick_place(model, prefix, words))


def test_a_quarter_turn_more_or_less_changes_nothing():
    angles = torch.linspace(-7, 7, 101)
    assert modulo_quarter_turn(angles).abs().max() <= math.pi / 4 + 1e-6
    turned = torch.stack([modulo_quarter_turn(angles), modulo_quarter_turn(angles + math.pi / 2)]).mul(4)
    torch.testing.assert_close(turned[0].cos(), turned[1].cos(), atol=1e-5, rtol=0)
    torch.testing.assert_close(turned[0].cos(), (4 * angles).cos(), atol=1e-5, rtol=0)
    assert modulo_quarter_turn(torch.tensor(math.pi / 4 + 0.01)) == pytest.approx(0.01 - math.pi / 4, abs=1e-6)


def test_pick_place_actions_come_back_from_their_scaling():
    points = torch.tensor([[[0.5, 0.1, 0.04, 0.3, 0.04], [0.6, -0.2, 0.0, -0.2, 0.04]]])
    action = points[..., :4] + torch.tensor([[[0.003, -0.002, 0.001, 0.02], [-0.004, 0.001, 0.0, 0.05]]])
    scaled = scale_pick_place(action.flatten(1), points)
    assert scaled[0, 0, 0] == pytest.approx(0.3, abs=1e-4)  # 3 mm in centimetres
    assert scaled[0, 0, 3] == pytest.approx(0.1, abs=1e-4)  # 0.02 rad in units of 0.2
    torch.testing.assert_close(unscale_pick_place(scaled, points), action, atol=1e-6, rtol=0)


def test_a_block_turned_by_a_quarter_is_the_same_target():
    points = torch.tensor([[[0.5, 0.1, 0.04, 0.3, 0.04], [0.6, -0.2, 0.0, 0.3, 0.04]]])
    turned = points[..., :4].clone()
    turned[..., 3] += math.pi / 2
    assert scale_pick_place(turned.flatten(1), points).abs().max() < 1e-5


def test_the_place_turns_by_an_eighth_at_most():
    points = torch.zeros(1, 2, 5)
    points[0, 0, 3], points[0, 1, 3] = 0.7, -0.7  # 0.17 rad apart, modulo a quarter
    yaw = unscale_pick_place(torch.zeros(1, 1, 8), points)[0, :, 3]
    assert yaw[1] - yaw[0] == pytest.approx(math.pi / 2 - 1.4, abs=1e-5)


def test_ee_actions_come_back_from_their_scaling():
    generator = torch.Generator().manual_seed(0)
    state = torch.randn(2, 13, generator=generator)
    action = torch.randn(2, 5, 7, generator=generator)
    action[..., 6] = (action[..., 6] > 0).float()
    torch.testing.assert_close(unscale_ee(scale_ee(action, state), state), action, atol=1e-6, rtol=0)
    ahead = torch.cat([state[:, None, :6], torch.ones(2, 1, 1)], -1)
    ahead[:, :, 0] += 0.1
    ahead[:, :, 3:5] = 0.0  # straight down is zero, however the tool leans now: a lean must not add up
    assert scale_ee(ahead, state)[0, 0].tolist() == pytest.approx([1, 0, 0, 0, 0, 0, 1], abs=1e-5)


def test_anchors_are_where_the_tool_may_be_meant_to_be():
    points = torch.tensor([[[0.4, 0.1, 0.04, 0.2, 0.04], [0.6, -0.2, 0.06, 0.3, 0.04]]])
    state = torch.zeros(1, 13)
    state[0, :3], state[0, 5] = torch.tensor([0.5, 0.0, 0.3]), 0.1
    x, y, z, yaw = ee_waypoints(points, state, (0.49, 0.13, 0.36))[0]
    assert x[:4].tolist() == pytest.approx([0, -1, 1, -0.1], abs=1e-5)  # in decimetres from the tool
    assert y[:4].tolist() == pytest.approx([0, 1, -2, 1.3], abs=1e-5)
    heights = [0.3, 0.04, 0.06, 0.10, 0.12, 0.24, 0.36, 0.11]
    assert z.tolist() == pytest.approx([10 * (h - 0.3) for h in heights], abs=1e-5)
    assert yaw[:4].tolist() == pytest.approx([0, 0.2, 0.4, -0.2], abs=1e-5)  # in half radians


def test_a_weight_of_one_is_an_anchor_to_the_millimetre(tiny, attended):
    model, _ = tiny
    expert = model.experts["ee"]
    saved = [p.detach().clone() for p in expert.blend.parameters()]
    with torch.no_grad():
        expert.blend.weight.zero_()
        expert.blend.bias.copy_(torch.tensor([0.0, 50.0, *[0.0] * 6]).repeat(4))  # the second anchor of each
    state = torch.zeros(3, 13)
    chunk = action_sampling.sample_ee_chunk(model, attended, state, STILL, 4, torch.randn(3, 16, 7))
    with torch.no_grad():
        for p, value in zip(expert.blend.parameters(), saved, strict=True):
            p.copy_(value)
    wanted = attended.points[:, :1, :3].expand(-1, 16, -1)
    torch.testing.assert_close(chunk[..., :3], wanted, atol=0.03, rtol=0)  # what is said beside the anchors is small


@pytest.mark.parametrize("steps", [1, 2, 4, 10])
@pytest.mark.parametrize("given", [0, 1, 6])
def test_a_chunk_begins_with_its_prefix(tiny, attended, steps, given):
    model, _ = tiny
    state = torch.randn(3, 13, generator=torch.Generator().manual_seed(2))
    noise = action_sampling.sample_action_noise(model, "ee", [torch.Generator().manual_seed(k) for k in range(3)])
    prefix = torch.rand(3, given, 7, generator=torch.Generator().manual_seed(3))  # to the last bit, whatever it is
    chunk = action_sampling.sample_ee_chunk(model, attended, state, STILL, steps, noise, prefix)
    assert chunk.shape == (3, 16, 7)
    assert torch.equal(chunk[:, :given], prefix)
    assert set(chunk[:, given:, 6].unique().tolist()) <= {0.0, 1.0}
    free = action_sampling.sample_ee_chunk(model, attended, state, STILL, steps, noise)
    assert torch.equal(free, chunk) is (given == 0), "the rest of the chunk must take the prefix into account"


@pytest.mark.parametrize("steps", [1, 2, 4, 10])
@pytest.mark.parametrize("control", ["ee", "pick_place"])
def test_a_row_of_a_stack_acts_as_it_does_alone(tiny, attended, control, steps):
    model, _ = tiny
    state = torch.randn(3, 13, generator=torch.Generator().manual_seed(2))
    noise = action_sampling.sample_action_noise(model, control, [torch.Generator().manual_seed(k) for k in range(3)])

    def act(scene, rows):
        if control == "ee":
            return action_sampling.sample_ee_chunk(model, scene, state[rows], STILL[rows], steps, noise[rows])
        return action_sampling.sample_pick_place(model, scene, steps, noise[rows])

    rows = [attended.select_row(k) for k in range(3)]
    short = rows[2]
    width = int(short.valid.nonzero()[-1, 1]) + 1  # the columns that it needs
    rows[2] = ActionContext(
        short.points, [(k[:, :, :width], v[:, :, :width]) for k, v in short.cache], short.valid[:, :width]
    )
    together = act(ActionContext.stack(rows), [0, 1, 2])
    assert together.shape == ((3, 16, 7) if control == "ee" else (3, 2, 4))
    for number, row in enumerate(rows):
        torch.testing.assert_close(act(row, [number])[0], together[number], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_without_way_points_a_pose_is_what_is_said_alone(make_tiny, attended):
    model, _ = make_tiny(ee_waypoints=False)
    expert = model.experts["ee"]
    assert expert.blend is None
    expert.leave.weight.zero_()
    expert.leave.bias.copy_(torch.tensor([0.5, -0.5, 1.0, 0.0, 0.0, 0.0, 1.0]))
    state = torch.zeros(3, 13)
    for steps in (1, 4):
        chunk = action_sampling.sample_ee_chunk(model, attended, state, STILL, steps, torch.randn(3, 16, 7))
        wanted = torch.tensor([0.05, -0.05, 0.1]).expand(3, 16, 3)  # wherever pick and place are
        torch.testing.assert_close(chunk[..., :3], wanted, atol=1e-5, rtol=0)


def test_a_checkpoint_gets_a_new_expert_where_a_recipe_has_it_without_way_points(make_tiny, tmp_path):
    model, processor = make_tiny()
    model.config.trained_stages = ["action", "planning"]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UserError, match=r"made with recipe.model.ee_waypoints=True, not False"):
        check_model_settings(model, {"ee_waypoints": False}, "here")
    check_model_settings(model, {"ee_waypoints": True}, "here", anew=True)
    assert model.config.trained_stages == ["action", "planning"]
    check_model_settings(model, {"ee_waypoints": False}, "here", anew=True)
    assert model.config.trained_stages == ["planning"]
    save_checkpoint(model, processor, tmp_path)
    again = load_checkpoint(tmp_path)[0].state_dict()
    assert before.keys() - again.keys() == {"experts.ee.blend.weight", "experts.ee.blend.bias"}
    for name, value in again.items():
        assert name.startswith("experts.ee.") or torch.equal(value, before[name]), name
