"""Image tokens: their order, their masks, their noise, and painting in every mode."""

import pytest
import torch

from lohovla.model.inference import pick_place_prediction
from lohovla.model.inference.subgoal_generation import SubgoalSamplingConfig, generate_subgoal, move_of
from lohovla.model.subgoal import subgoal_sampling
from lohovla.model.subgoal.pixel_transport import NEAR_DIM, token_grid, token_offsets, transport_pixels
from lohovla.model.subgoal.subgoal_generator import DecodedTokens, SubgoalGenerator, SubtaskMove, generation_context
from lohovla.model.subgoal.subgoal_sampling import (
    add_noise,
    cosine_sets,
    denoising_target,
    sample_subgoal_tokens,
    sample_tokens,
)


@pytest.fixture(scope="module")
def scenes(tiny, inputs):
    """A scene of three observations, and the same without the sub-task."""
    model, processor = tiny
    prefix = model.encode(inputs)
    said = processor.tokenizer.encode("Pick up the red block and place it on the table.", add_special_tokens=False)
    words = pick_place_prediction.subtask_from_tokens(model, prefix, [said] * 3, processor.tokenizer.bos_token_id)
    pointed = pick_place_prediction.predict_pick_place(model, prefix, words)
    with torch.no_grad():
        move = move_of(model, inputs.picture, prefix.seen, pointed.points)
        return [
            generation_context(model.painter, move, pointed.cache, pointed.layout, torch.full((3,), hidden))
            for hidden in (False, True)
        ]


@pytest.mark.parametrize("count", [1, 7, 50])
@pytest.mark.parametrize("steps", [1, 2, 8, 50, 64])
def test_sets_grow_and_add_up(count, steps):
    sizes = cosine_sets(count, steps)
    assert sum(sizes) == count
    assert min(sizes) >= 1
    assert len(sizes) == min(count, steps)


def test_sets_follow_the_cosine():
    # 100 cos(pi k / 8) for k = 1, 2, 3, rounded down: 92, 70, 38 are left.
    assert cosine_sets(100, 4) == [8, 22, 32, 38]


def test_tokens_come_back_as_latents(tiny):
    painter = tiny[0].painter
    latents = torch.randn(2, 2, 10, 20, generator=torch.Generator().manual_seed(0))
    assert token_grid(painter.config) == (5, 10)
    tokens = painter.tokens(latents)
    assert tokens.shape == (2, 50, 8)
    torch.testing.assert_close(painter.latents(tokens), latents)
    # Token 11 is the square in the second row and second column.
    assert sorted(tokens[0, 11].tolist()) == sorted(latents[0, :, 2:4, 2:4].flatten().tolist())


def test_measuring_standardises(make_tiny):
    model, _ = make_tiny()
    latents = torch.randn(4, 2, 10, 20, generator=torch.Generator().manual_seed(0)) * 3 + 5
    model.painter.fit_scale(latents)
    standard = (latents - model.painter.shift[:, None, None]) / model.painter.scale[:, None, None]
    torch.testing.assert_close(standard.mean((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(standard.std((0, 2, 3)), torch.ones(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(model.painter.latents(model.painter.tokens(latents)), latents, atol=1e-4, rtol=1e-5)


def test_near_by_hand(tiny):
    """Tokens are 10 cm wide; the first is centred at (0.30, -0.45)."""
    points = torch.tensor([[[0.33, -0.45, 0.04, 0.1, 0.04], [0.70, 0.45, 0.0, 0.2, 0.04]]])
    found = token_offsets(points, tiny[0].config)
    assert found.shape == (1, 50, NEAR_DIM)
    first = found[0, 0].view(2, NEAR_DIM // 2)
    torch.testing.assert_close(first[0, :3], torch.tensor([0.3, 0.0, 1.0]), atol=1e-5, rtol=0)
    assert first[1, :2].tolist() == [1.5, 1.5]  # far away: clipped, and nothing more is said
    assert not first[1, 2:].any()


def test_an_untrained_head_paints_the_move(make_tiny, scenes):
    scene = scenes[0]
    painter = SubgoalGenerator(make_tiny()[0].config)
    tokens = sample_subgoal_tokens(painter, scene, 3, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(tokens, scene.moved, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_what_the_head_leaves_alone_is_as_sharp_as_the_camera(make_tiny, inputs):
    """An untrained head paints the move: its pixels are the camera's, and none has been through the autoencoder."""
    model, processor = make_tiny()
    model.painter = SubgoalGenerator(model.config)
    prefix = model.encode(inputs)
    words = pick_place_prediction.subtask_from_tokens(model, prefix, [[]] * 3, processor.tokenizer.bos_token_id)
    pointed = pick_place_prediction.predict_pick_place(model, prefix, words)
    painted = generate_subgoal(
        model, inputs.picture, prefix.seen, pointed, SubgoalSamplingConfig(steps=2, denoise=16)
    ).picture
    torch.testing.assert_close(
        painted, transport_pixels(inputs.picture, pointed.points, model.config), atol=1e-3, rtol=0
    )
    assert (painted != inputs.picture).any()


def test_a_query_sees_earlier_sets_and_never_its_own_content(tiny, scenes):
    painter, scene = tiny[0].painter, scenes[0]
    where = torch.randperm(50, generator=torch.Generator().manual_seed(0)).expand(3, -1)
    sets = torch.tensor([0] * 10 + [1] * 15 + [2] * 25).expand(3, -1)
    data = torch.randn(3, 50, 8, generator=torch.Generator().manual_seed(1))
    hidden = painter.hidden(scene, DecodedTokens(data, where, sets, sets), where)
    for changed in range(3):
        other = torch.where((sets == changed)[..., None], data + 1, data)
        again = painter.hidden(scene, DecodedTokens(other, where, sets, sets), where)
        moved = (again - hidden).abs().amax(-1) > 1e-5
        assert torch.equal(moved, sets > changed)


@torch.no_grad()
def test_hidden_states_in_painting_are_those_of_training(tiny, scenes):
    """What is known so far gives each set the states that it has with everything at hand."""
    painter, scene = tiny[0].painter, scenes[0]
    where = torch.arange(50).expand(3, -1)
    sets = torch.tensor([0] * 20 + [1] * 30).expand(3, -1)
    data = torch.randn(3, 50, 8, generator=torch.Generator().manual_seed(1))
    everything = painter.hidden(scene, DecodedTokens(data, where, sets, sets), where)
    late = DecodedTokens(data[:, :20], where[:, :20], sets[:, :20], sets[:, 20:])
    torch.testing.assert_close(painter.hidden(scene, late, where[:, 20:]), everything[:, 20:], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_without_the_subtask_its_words_and_points_do_not_count(tiny, inputs):
    model, processor = tiny
    prefix = model.encode(inputs)
    observed = torch.zeros(3, 50, 8)
    states, given = [], []
    for text in ("Done.", "Pick up the red block and place it on the table."):
        said = processor.tokenizer.encode(text, add_special_tokens=False)
        words = pick_place_prediction.subtask_from_tokens(model, prefix, [said] * 3, processor.tokenizer.bos_token_id)
        pointed = pick_place_prediction.predict_pick_place(model, prefix, words)
        without = torch.tensor([True, False, False])
        move = SubtaskMove(pointed.points, torch.ones(3, 16), observed, observed + len(states))
        scene = generation_context(model.painter, move, pointed.cache, pointed.layout, without)
        given.append(scene.tokens_at(torch.zeros(3, 1, dtype=torch.long))[1])
        empty = torch.zeros(3, 0, dtype=torch.long)
        first = torch.zeros(3, 1, dtype=torch.long)
        states.append(model.painter.hidden(scene, DecodedTokens(torch.zeros(3, 0, 8), empty, empty, first), first))
    same = (states[0] - states[1]).abs().amax((1, 2)) < 1e-5
    assert same.tolist() == [True, False, False]
    assert (given[0] == given[1]).all((1, 2)).tolist() == [True, False, False]


@pytest.mark.parametrize("order", ["raster", "parallel"])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_painting_follows_from_its_seed_and_uses_guidance(tiny, scenes, order, guidance):
    painter, (scene, without) = tiny[0].painter, scenes

    def draw(seed, strength):
        generator = torch.Generator().manual_seed(seed)
        return sample_subgoal_tokens(painter, scene, 4, 2, order, strength, without, generator)

    tokens = draw(0, guidance)
    assert tokens.shape == (3, 50, 8)
    assert torch.isfinite(tokens).all()
    assert torch.equal(tokens, draw(0, guidance))
    assert not torch.equal(tokens, draw(1, guidance))
    assert torch.equal(tokens, draw(0, 1.0)) is (guidance == 1.0)


@pytest.mark.parametrize("order", ["raster", "parallel"])
def test_tokens_are_painted_at_their_places(tiny, scenes, order, monkeypatch):
    painter, scene = tiny[0].painter, scenes[0]

    def copy(painter, x, hidden, other, given, plain, steps, guidance):
        return given[0]

    monkeypatch.setattr(subgoal_sampling, "sample_tokens", copy)
    assert torch.equal(
        sample_subgoal_tokens(painter, scene, 4, 2, order, generator=torch.Generator().manual_seed(0)), scene.observed
    )


@pytest.mark.parametrize("steps", [1, 2, 10])
@pytest.mark.parametrize("target", ["flow", "v"])
def test_a_perfect_head_gives_the_data(make_tiny, target, steps):
    """The scheduler undoes :func:`add_noise`: told the truth at each level, it arrives at the data."""
    model, _ = make_tiny(image_target=target)
    painter = model.painter
    data = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(1))
    levels = []

    def head(x, t, hidden, observed, moved):
        levels.append(float(t[0, 0]))
        torch.testing.assert_close(x, add_noise(painter.config, data, noise, t), atol=2e-2, rtol=1e-2)
        return data

    painter.head.forward = head
    nothing = torch.zeros(2, 3, 8)
    found = sample_tokens(painter, noise, torch.zeros(2, 3, 16), None, (nothing, nothing), None, steps, 1.0)
    torch.testing.assert_close(found, data, atol=2e-2, rtol=1e-2)
    if target == "flow":
        assert levels == pytest.approx([1 - k / steps for k in range(steps)])


def test_flow_noise_by_hand(tiny):
    config = tiny[0].config
    data, noise, t = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 4.0]]), torch.tensor([0.25])
    x = add_noise(config, data, noise, t)
    assert x.tolist() == [[1.5, 1.0]]
    assert denoising_target(config, x, data, t).tolist() == [[-2.0, 4.0]]


def test_v_noise_by_hand(make_tiny):
    """Linear betas from 1e-4 to 0.02, the square roots of their products shifted and stretched to end at zero."""
    config = make_tiny(image_target="v")[0].config
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    roots = (1 - betas).cumprod(0).sqrt()
    roots = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
    data, noise = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    for step in (0, 300, 999):
        a, s = float(roots[step]), float((1 - roots[step] ** 2).sqrt())
        t = torch.tensor([(step + 0.5) / 1000])
        x = add_noise(config, data, noise, t)
        torch.testing.assert_close(x, a * data + s * noise, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(denoising_target(config, x, data, t), a * noise - s * data, atol=2e-3, rtol=2e-3)


def test_soft_codes_mix_and_harden(make_tiny):
    soft, hard = (make_tiny(image_codes=5, image_tau=tau)[0].painter for tau in (1.0, 1e-4))
    tokens = hard.codes.detach()[[3, 1]][None] + 0.01
    torch.testing.assert_close(hard.embed(tokens)[0], hard.content.weight.t()[[3, 1]])
    distance = (tokens[0, 0] - soft.codes).square().sum(-1)
    mixture = torch.exp(-distance) / torch.exp(-distance).sum()
    torch.testing.assert_close(soft.embed(tokens)[0, 0], mixture @ soft.content.weight.t(), atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("codes", [0, 5])
def test_what_was_painted_is_known_by_its_code_alone_where_there_are_codes(make_tiny, scenes, codes):
    """Hard codes: a token as far from its code as you like, but nearest to it, gives the next ones the same states."""
    painter = make_tiny(image_codes=codes, image_tau=1e-4)[0].painter
    table = painter.codes if codes else torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    which = torch.randint(5, (3, 10), generator=torch.Generator().manual_seed(2))
    where = torch.arange(30).expand(3, -1)

    def states(tokens):
        known = DecodedTokens(
            tokens, where[:, :10], torch.zeros(3, 10, dtype=torch.long), torch.ones(3, 20, dtype=torch.long)
        )
        return painter.hidden(scenes[0], known, where[:, 10:])

    exact, near, other = states(table[which]), states(table[which] + 1e-2), states(table[(which + 1) % 5])
    assert (exact - other).abs().max() > 1e-3
    assert ((exact - near).abs().max() < 1e-6) == bool(codes)


@torch.no_grad()
@pytest.mark.parametrize("order", ["raster", "parallel"])
def test_a_head_of_the_other_target_paints_what_it_says(make_tiny, scenes, order):
    """Untrained it says the move; stepped by another schedule than its own, that is not what comes of it."""
    painter = SubgoalGenerator(make_tiny(image_target="v")[0].config)
    scene, generator = scenes[0], torch.Generator().manual_seed(0)
    tokens = sample_subgoal_tokens(painter, scene, 3, 4, order, generator=generator)
    torch.testing.assert_close(tokens, scene.moved, atol=2e-2, rtol=2e-2)
