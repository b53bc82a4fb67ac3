"""What the cameras see: where things appear, how far they are, and what noise changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lohovla.envs.control.simulation import Simulation
from lohovla.envs.env import BlocksEnv
from lohovla.envs.render.fused_view import point_cloud
from lohovla.envs.render.noise import CameraNoise
from lohovla.envs.scene.cameras import CAMERAS, rotation_of
from lohovla.envs.sensors import Sensors
from lohovla.errors import UserError

SCATTERED = (
    (0.30, -0.30, 0.02, 0.3, 0.04),
    (0.60, 0.20, 0.03, 1.0, 0.06),
    (0.45, 0.40, 0.02, 0.7, 0.04),
    (0.68, -0.38, 0.03, 0.2, 0.06),
)


@pytest.fixture
def look() -> Callable[..., dict[str, Any]]:
    """One observation of a simulation through cameras of given settings."""

    def observe(simulation: Simulation, top_source: str = "orthographic", **cameras: Any) -> dict[str, Any]:
        sensors = Sensors(cameras, CameraNoise(), top_source)
        sensors.aim(simulation)
        return sensors.observe(simulation, "", np.random.default_rng(0))

    return observe


def red_pixels(picture: np.ndarray) -> np.ndarray:
    """Rows and columns (n, 2) of what is clearly red: block0."""
    red, green, blue = np.moveaxis(picture.astype(int), -1, 0)
    return np.argwhere((red > 120) & (red > 2 * green) & (red > 2 * blue))


# -- the view from above -----------------------------------------------------------------------------


@pytest.mark.parametrize(("x", "y"), [(0.30, -0.40), (0.30, 0.40), (0.70, -0.40), (0.70, 0.40), (0.5, 0.0)])
def test_rows_of_top_run_with_x_and_columns_with_y(set_table, look, x, y):
    simulation = set_table(blocks=((x, y, 0.02, 0.4, 0.04),))
    row, column = red_pixels(look(simulation, top={})["images.top"]).mean(axis=0)
    assert row == pytest.approx((x - 0.25) * 320 - 0.5, abs=0.6)
    assert column == pytest.approx((y + 0.5) * 320 - 0.5, abs=0.6)


def test_top_left_in_a_sentence_is_top_left_in_the_picture(blind):
    env = blind("stack-block-in-absolute-area", cameras={"top": {}})
    for seed in range(40, 60):
        observation, _ = env.reset(seed=seed)
        if "top left" in observation["instruction"]:
            break
    (column,) = env.problem.goal.columns
    poses = env.problem.layout.poses
    env.simulation.arrange(  # the same places, the wanted blocks in pure red, the others in blue
        {name: (pose.x, pose.y, pose.z, pose.yaw) for name, pose in poses.items()},
        {name: (1.0, 0.0, 0.0) if name in column.blocks else (0.0, 0.0, 1.0) for name in poses},
    )
    seen = red_pixels(env.picture("top", 320, 160, "fast"))
    assert len(seen) > len(column.blocks) * 12**2
    overhang = 14  # pixels of half a big block's diagonal, which may lie over the border
    assert (seen[:, 0] < 80 + overhang).all()
    assert (seen[:, 1] < 160 + overhang).all()


@pytest.mark.parametrize("edge", [0.04, 0.06])
def test_depth_of_top_is_metres_above_the_table(set_table, look, edge):
    depth = look(set_table(blocks=((0.5, 0.1, edge / 2, 0, edge),)), top={"depth": True})["depth.top"]
    assert depth.dtype == np.float32
    assert depth[80, 192] == pytest.approx(edge, abs=1e-3)
    assert depth[80, 100] == pytest.approx(0.0, abs=1e-4)
    assert (depth > edge / 2).sum() ** 0.5 == pytest.approx(edge * 320, abs=1.0)


@pytest.mark.parametrize(("width", "height"), [(320, 160), (64, 32), (224, 224), (128, 200), (640, 160)])
def test_top_of_any_shape_shows_the_whole_workspace(set_table, look, width, height):
    corners = [(x, y) for x in (0.275, 0.725) for y in (-0.475, 0.475)]
    for x, y in corners:
        simulation = set_table(blocks=((x, y, 0.02, 0.0, 0.04),))
        observation = look(simulation, top={"width": width, "height": height, "depth": True})
        assert observation["images.top"].shape == (height, width, 3)
        assert observation["depth.top"].shape == (height, width)
        scale = min(width / 1.0, height / 0.5)  # pixels a metre
        row, column = red_pixels(observation["images.top"]).mean(axis=0)
        assert row == pytest.approx(height / 2 + (x - 0.5) * scale - 0.5, abs=1.0)
        assert column == pytest.approx(width / 2 + y * scale - 0.5, abs=1.0)


def test_the_arm_at_home_is_not_in_the_view_from_above(set_table, look):
    depth = look(set_table(), top={"depth": True})["depth.top"]
    assert depth.max() < 1e-3


# -- perspective -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "position", "target"),
    [
        ("front", (1.0, 0.0, 0.75), (0.25, 0.0)),
        ("left", (0.0, 0.5, 0.75), (0.445, 0.055)),
        ("right", (0.0, -0.5, 0.75), (0.445, -0.055)),
    ],
)
def test_published_cameras_look_where_they_should(set_table, look, name, position, target):
    camera = CAMERAS[name]
    assert camera.position == position
    assert (camera.width, camera.height) == (640, 480)
    np.testing.assert_allclose(camera.intrinsics, [[450, 0, 320], [0, 450, 240], [0, 0, 1]], atol=1e-9)
    right, down, forward = rotation_of(camera).T
    np.testing.assert_allclose(np.cross(right, down), forward, atol=1e-12)
    assert right[2] == pytest.approx(0.0, abs=1e-9)  # the horizon is level
    assert down[2] < 0
    simulation = set_table(blocks=((*target, 0.002, 0.0, 0.004),))  # a chip where the optical axis meets the table
    row, column = red_pixels(look(simulation, **{name: {}})[f"images.{name}"]).mean(axis=0)
    assert (row, column) == pytest.approx((239.5, 319.5), abs=1.5)


@pytest.mark.parametrize("name", ["front", "left", "right"])
@pytest.mark.parametrize(("width", "height"), [(640, 480), (320, 240)])
def test_depth_deprojects_to_the_top_of_a_block(set_table, look, name, width, height):
    simulation = set_table(blocks=((0.5, 0.0, 0.03, 0.4, 0.06),))
    observation = look(simulation, **{name: {"width": width, "height": height, "depth": True}})
    sensors = Sensors({name: {"width": width, "height": height}}, CameraNoise())
    points = point_cloud(sensors.cameras[name], observation[f"depth.{name}"])
    over = np.hypot(points[..., 0] - 0.5, points[..., 1]) < 0.02
    assert over.sum() > 30
    np.testing.assert_allclose(points[over][:, 2], 0.06, atol=1.5e-3)
    beside = (np.abs(points[..., 0] - 0.62) < 0.02) & (np.abs(points[..., 1] - 0.1) < 0.02)
    np.testing.assert_allclose(points[beside][:, 2], 0.0, atol=1.5e-3)


def test_the_wrist_camera_sees_the_tip_of_the_tool_and_what_is_below_it(set_table, look):
    simulation = set_table(blocks=((0.3, -0.3, 0.03, 0.4, 0.06),))
    assert not len(red_pixels(look(simulation, wrist={})["images.wrist"]))
    simulation = set_table(blocks=((*simulation.tcp()[0][:2], 0.03, 0.4, 0.06),))
    assert len(red_pixels(look(simulation, wrist={})["images.wrist"])) > 100


def test_the_fused_height_map_agrees_with_the_orthographic_one(set_table, look):
    """Measured over scenes like this one: 99.4 % of heights within 3 mm, 98 % of colours within 10 of 255."""
    simulation = set_table(blocks=SCATTERED, bowls=((0.5, -0.1), (0.35, 0.1)), zones=((0.65, 0.0, 0.15),))
    truth = look(simulation, top={"depth": True})
    fused = look(simulation, top_source="fused", top={"depth": True})
    heights = np.abs(fused["depth.top"] - truth["depth.top"])
    colors = np.abs(fused["images.top"].astype(int) - truth["images.top"]).max(axis=-1)
    assert (heights < 0.003).mean() > 0.98
    assert (colors < 25).mean() > 0.96
    for x, y, _, _, edge in SCATTERED:  # and the blocks stand where they stand
        row, column = round((x - 0.25) * 320), round((y + 0.5) * 320)
        assert fused["depth.top"][row, column] == pytest.approx(edge, abs=2e-3)


# -- settings ----------------------------------------------------------------------------------------


def test_a_camera_set_to_none_is_left_out():
    env = BlocksEnv(cameras={"top": None, "wrist": {"width": 32, "height": 24}})
    observation, _ = env.reset(seed=1)
    assert set(observation) == {"images.wrist", "state", "instruction"}
    assert set(env.observation_space) == set(observation)
    assert observation["images.wrist"].shape == (24, 32, 3)


def test_an_unknown_camera_names_the_nearest():
    with pytest.raises(UserError, match=r"(?s)'frnt'.*'front'"):
        BlocksEnv(cameras={"frnt": {}})


def test_an_unknown_camera_setting_names_the_known_ones():
    with pytest.raises(UserError, match=r"(?s)'fov'.*width, height and depth"):
        BlocksEnv(cameras={"front": {"fov": 60}})


@pytest.mark.parametrize("setting", [{"width": 0}, {"height": -5}, {"width": 5000}])
def test_a_picture_of_impossible_size_is_refused_when_the_environment_is_made(setting):
    with pytest.raises(UserError):
        BlocksEnv(cameras={"front": setting})


# -- noise -------------------------------------------------------------------------------------------

CAMERAS_WITH_DEPTH = {
    "top": {"depth": True},
    "front": {"width": 160, "height": 120, "depth": True},
    "wrist": {"width": 64, "height": 64, "depth": True},
}
PICTURES = {f"images.{name}" for name in CAMERAS_WITH_DEPTH}
DEPTHS = {f"depth.{name}" for name in CAMERAS_WITH_DEPTH}


def first_observation(noise: dict[str, float], seed: int = 17, **settings: Any) -> dict[str, Any]:
    return BlocksEnv(cameras=CAMERAS_WITH_DEPTH, noise=noise, **settings).reset(seed=seed)[0]


@pytest.mark.parametrize(
    ("setting", "size", "changed"),
    [
        ("color", 4.0, PICTURES),
        ("depth", 0.004, DEPTHS),
        ("light", 0.2, PICTURES),
        ("camera_position", 0.02, PICTURES | DEPTHS),
        ("camera_rotation", 0.02, PICTURES | DEPTHS),
    ],
)
def test_each_kind_of_noise_changes_what_it_says_and_nothing_else(setting, size, changed):
    clean, noisy = first_observation({}), first_observation({setting: size})
    differing = {key for key in clean if not np.array_equal(clean[key], noisy[key])}
    assert differing == changed


@pytest.mark.parametrize("sigma", [3.0, 8.0])
def test_color_noise_has_the_deviation_that_was_set(sigma):
    clean, noisy = first_observation({})["images.front"], first_observation({"color": sigma})["images.front"]
    unclipped = (clean > 6 * sigma) & (clean < 255 - 6 * sigma)
    difference = noisy[unclipped].astype(float) - clean[unclipped]
    assert difference.size > 10_000
    assert difference.std() == pytest.approx(np.sqrt(sigma**2 + 1 / 12), rel=0.04)  # rounding adds 1/12
    assert difference.mean() == pytest.approx(0.0, abs=0.05 * sigma)


@pytest.mark.parametrize("sigma", [0.002, 0.01])
def test_depth_noise_has_the_deviation_that_was_set(sigma):
    clean, noisy = first_observation({})["depth.front"], first_observation({"depth": sigma})["depth.front"]
    difference = (noisy - clean)[clean < 2.0]  # what is farther may meet the sensor's end
    assert difference.size > 10_000
    assert difference.std() == pytest.approx(sigma, rel=0.03)
    assert difference.mean() == pytest.approx(0.0, abs=0.05 * sigma)


def test_depth_noise_never_gives_a_height_below_the_table():
    assert first_observation({"depth": 0.01})["depth.top"].min() == 0.0


def test_color_noise_is_drawn_anew_each_picture_and_light_once_an_episode():
    still = np.array([0.4, 0.0, 0.4, 0.0, 0.0, 0.0, 0.0])
    for setting, drawn_anew in (({"color": 4.0}, True), ({"light": 0.3}, False)):
        env = BlocksEnv(cameras={"front": {"width": 64, "height": 48}}, noise=setting)
        env.reset(seed=18)
        for _ in range(30):
            first = env.step(still)[0]["images.front"]
        second = env.step(still)[0]["images.front"]
        assert np.array_equal(first, second) is not drawn_anew


def test_light_noise_turns_the_lights(blind):
    bright, noisy = blind(), blind(noise={"light": 0.3})
    for env in (bright, noisy):
        env.reset(seed=19)
    assert not np.allclose(bright.simulation.model.light_dir, noisy.simulation.model.light_dir)
    np.testing.assert_allclose(np.linalg.norm(noisy.simulation.model.light_dir, axis=1), 1.0)
    np.testing.assert_allclose(noisy.simulation.data.light_xdir, noisy.simulation.model.light_dir, atol=1e-6)


@pytest.mark.parametrize("name", ["color", "depth", "camera_position", "camera_rotation", "light"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_noise_that_is_no_deviation_is_refused(name, value):
    with pytest.raises(UserError, match=f"noise.{name}"):
        BlocksEnv(noise={name: value})


def test_unknown_noise_names_the_nearest():
    with pytest.raises(UserError, match=r"(?s)'colour'.*color"):
        BlocksEnv(noise={"colour": 1.0})


def test_the_film_for_people_has_no_noise():
    pictures = []
    for noise in ({}, {"camera_position": 0.05, "color": 20.0}):
        env = BlocksEnv(cameras={}, noise=noise, render_mode="rgb_array")
        env.reset(seed=20)
        pictures.append(env.render())
    np.testing.assert_array_equal(*pictures)


def test_calibration_says_what_the_camera_is():
    env = BlocksEnv(cameras={"top": {"width": 160, "height": 80}, "front": {"width": 320, "height": 240}})
    calibration = env.describe()["cameras"]
    assert calibration["top"]["projection"] == "orthographic"
    np.testing.assert_allclose(calibration["top"]["intrinsics"], [[160, 0, 80], [0, 160, 40], [0, 0, 1]])
    np.testing.assert_allclose(calibration["front"]["intrinsics"], [[225, 0, 160], [0, 225, 120], [0, 0, 1]])
    assert calibration["front"]["position"] == [1.0, 0.0, 0.75]
