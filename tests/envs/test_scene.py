"""What stands on the table: sizes, masses, colours, and how it behaves when touched."""

from __future__ import annotations

import sys

import mujoco
import numpy as np
import pytest

from lohovla.envs.control.simulation import Simulation
from lohovla.envs.language import rgb, vocabulary
from lohovla.envs.render.renderer import render_camera_picture
from lohovla.envs.scene.objects import BOWL_HEIGHT, BOWL_RADIUS
from lohovla.envs.scene.world import Composition, build_spec, compile_model
from lohovla.envs.tasks.entities import BIG, SMALL
from lohovla.errors import SetupError

PUBLISHED_COLORS = {
    "blue": (78, 121, 167),
    "red": (255, 87, 89),
    "green": (89, 169, 78),
    "orange": (242, 142, 43),
    "yellow": (237, 201, 72),
    "purple": (176, 122, 161),
    "pink": (255, 157, 167),
    "cyan": (118, 183, 178),
    "brown": (156, 117, 95),
    "white": (255, 255, 255),
    "gray": (186, 176, 172),
}


def rest(simulation: Simulation, seconds: float) -> None:
    """Let time pass with the arm where it is."""
    for _ in range(round(seconds / simulation.period)):
        simulation.tick(simulation.joint_target, 0.0, np.random.default_rng(0))


def center(simulation: Simulation, block: str = "block0") -> np.ndarray:
    return simulation.data.body(block).xpos.copy()


def test_blocks_have_the_published_edges_mass_and_friction(set_table):
    model = set_table(blocks=((0.4, -0.2, 0.02, 0, 0.04), (0.6, 0.2, 0.03, 0, 0.06))).model
    assert (SMALL, BIG) == (0.04, 0.06)
    np.testing.assert_allclose(model.geom("block0").size, [0.02] * 3)
    np.testing.assert_allclose(model.geom("block1").size, [0.03] * 3)
    for block in ("block0", "block1"):
        assert model.body(block).mass[0] == pytest.approx(0.01)
        assert model.geom(block).friction[0] == 1.0


def test_colors_are_the_published_ones_and_reach_the_models_geoms(set_table):
    assert {name: tuple(color) for name, color in vocabulary()["colors"].items()} == PUBLISHED_COLORS
    simulation = set_table(blocks=((0.4, 0, 0.02, 0, 0.04),), bowls=((0.6, 0),), zones=((0.5, 0.3, 0.1),))
    for name in ("block0", "bowl0", "zone0"):
        np.testing.assert_allclose(simulation.model.geom(name).rgba, [*rgb("red"), 1.0], atol=1e-6)


def test_palettes_are_the_published_ones():
    palettes = vocabulary()["palettes"]
    assert palettes["train"] == ["blue", "red", "green", "yellow", "brown", "gray", "cyan"]
    assert palettes["eval"] == ["blue", "red", "green", "orange", "purple", "pink", "white"]
    assert set(palettes["all"]) == set(PUBLISHED_COLORS)


def test_the_bowl_has_the_published_size_and_is_lower_in_its_middle_than_at_its_rim(set_table):
    assert 0.115 <= 2 * BOWL_RADIUS <= 0.118
    assert BOWL_HEIGHT == 0.035
    simulation = set_table(bowls=((0.5, 0.0),))
    _, height = render_camera_picture(simulation.model, simulation.data, "top", 320, 160)
    rows, columns = np.indices(height.shape)
    distance = np.hypot((rows + 0.5) / 320 - 0.25, (columns + 0.5) / 320 - 0.5)
    assert height[distance < 0.02].max() < 0.006
    assert height[(distance > 0.045) & (distance < 0.058)].max() == pytest.approx(BOWL_HEIGHT, abs=0.002)
    assert height[distance > 0.062].max() < 0.002


@pytest.mark.parametrize("angle", [0.1, 1.3, 2.9, 4.4])
def test_a_small_block_dropped_over_a_bowl_ends_down_inside_near_its_middle(set_table, angle):
    x, y = 0.5 + 0.02 * np.cos(angle), 0.1 + 0.02 * np.sin(angle)
    simulation = set_table(blocks=((x, y, 0.07, 2 * angle, SMALL),), bowls=((0.5, 0.1),))
    rest(simulation, 2.0)
    ended = center(simulation)
    assert ended[2] < BOWL_HEIGHT
    assert np.hypot(*(ended[:2] - (0.5, 0.1))) < 0.02


def test_a_block_released_off_the_middle_of_a_bowl_comes_to_rest(set_table):
    rng = np.random.default_rng(23)
    moving = 0
    for _ in range(40):
        radius, angle, yaw = rng.uniform((0.0, 0.0, 0.0), (0.03, 2 * np.pi, np.pi / 2))
        x, y = 0.5 + radius * np.cos(angle), 0.1 + radius * np.sin(angle)
        simulation = set_table(blocks=((x, y, 0.03, yaw, SMALL),), bowls=((0.5, 0.1),))
        rest(simulation, 3.0)
        moving += not simulation.at_rest()
    assert moving == 0


def test_a_block_pushed_against_a_bowl_stays_outside(set_table):
    simulation = set_table(blocks=((0.5, 0.0, 0.02, 0, SMALL),), bowls=((0.5, 0.09),))
    for _ in range(40):
        simulation.data.qvel[-6:] = [0, 0.2, 0, 0, 0, 0]
        simulation.tick(simulation.joint_target, 0.0, np.random.default_rng(0))
    _, y, z = center(simulation)
    assert y > 0.008  # it has come up to the bowl
    assert z < 0.03  # and has not climbed in
    assert y < 0.09 - BOWL_RADIUS


def test_zones_cannot_be_touched(set_table):
    simulation = set_table(blocks=((0.5, 0.0, 0.02, 0, SMALL), (0.5, 0.3, 0.02, 0, SMALL)), zones=((0.5, 0.0, 0.1),))
    rest(simulation, 1.0)
    assert center(simulation, "block0")[2] == pytest.approx(center(simulation, "block1")[2], abs=1e-5)
    zone = simulation.model.body("zone0").id
    in_zone = simulation.model.geom_bodyid == zone
    assert in_zone.any()
    assert not simulation.model.geom_contype[in_zone].any()
    assert not simulation.model.geom_conaffinity[in_zone].any()


@pytest.mark.parametrize("layers", [(BIG, BIG, SMALL, SMALL, SMALL), (SMALL,) * 5, (SMALL, BIG)])
def test_a_tower_stands_still_for_ten_seconds(set_table, layers):
    feet = np.cumsum((0.0, *layers[:-1]))
    offsets = [0.0, 0.004, -0.004, 0.003, -0.003]  # as well as a robot stacks
    simulation = set_table(
        blocks=tuple(
            (0.5 + offset, 0.1, foot + edge / 2, 0.1 * foot, edge)
            for foot, edge, offset in zip(feet, layers, offsets, strict=False)
        )
    )
    names = [f"block{i}" for i in range(len(layers))]
    before = np.array([center(simulation, name) for name in names])
    rest(simulation, 10.0)
    after = np.array([center(simulation, name) for name in names])
    np.testing.assert_allclose(after, before, atol=5e-4)
    np.testing.assert_allclose(after[:, 2], feet + np.array(layers) / 2, atol=2.5e-3)
    assert simulation.at_rest()


def test_a_block_off_its_balance_falls(set_table):
    """So that the towers above stand by physics, not because nothing moves."""
    simulation = set_table(blocks=((0.5, 0.1, 0.02, 0, SMALL), (0.523, 0.1, 0.06, 0, SMALL)))
    rest(simulation, 2.0)
    assert center(simulation, "block1")[2] < 0.05


def test_copies_of_a_compiled_scene_are_independent():
    composition = Composition(blocks=(("block0", SMALL),))
    first, second = compile_model(composition), compile_model(composition)
    untouched = second.geom_rgba.copy()
    first.geom_rgba[:] = 0.5
    first.eq_data[:] = 7.0
    first.body_pos[:] += 1.0
    third = compile_model(composition)
    for model in (second, third):
        np.testing.assert_array_equal(model.geom_rgba, untouched)
        assert not (model.eq_data == 7.0).any()
        assert not (model.body_pos == first.body_pos).all()


# -- the maker's meshes ------------------------------------------------------------------------------

# Name, pose and joint axis of each link as the menagerie publishes them.
MENAGERIE_LINKS = (
    ("base", 'quat="1 0 0 1"', None),
    ("shoulder_link", 'pos="0 0 0.163"', "0 0 1"),
    ("upper_arm_link", 'pos="0 0.138 0" quat="1 0 1 0"', "0 1 0"),
    ("forearm_link", 'pos="0 -0.131 0.425"', "0 1 0"),
    ("wrist_1_link", 'pos="0 0 0.392" quat="1 0 1 0"', "0 1 0"),
    ("wrist_2_link", 'pos="0 0.127 0"', "0 0 1"),
    ("wrist_3_link", 'pos="0 0 0.1"', "0 1 0"),
)
BOX_FACES = ["1 2 4", "1 4 3", "5 8 6", "5 7 8", "1 5 6", "1 6 2", "3 4 8", "3 8 7", "1 3 7", "1 7 5", "2 6 8", "2 8 4"]
BOX_OBJ = "\n".join(
    [f"v {x} {y} {z}" for x in (-0.01, 0.01) for y in (-0.02, 0.02) for z in (-0.03, 0.03)]
    + [f"f {face}" for face in BOX_FACES]
)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of the menagerie in small: the published layout with a box for every link's mesh."""
    folder = tmp_path / "universal_robots_ur5e"
    (folder / "assets").mkdir(parents=True)
    tree = ""
    for name, pose, axis in reversed(MENAGERIE_LINKS):
        (folder / "assets" / f"{name}_0.obj").write_text(BOX_OBJ)
        joint = f'<joint axis="{axis}"/>' if axis else ""
        inertia = '<inertial mass="1" pos="0 0 0" diaginertia="0.1 0.1 0.1"/>'
        tree = f'<body name="{name}" {pose}>{inertia}{joint}<geom mesh="{name}_0"/>{tree}</body>'
    meshes = "".join(f'<mesh file="{name}_0.obj"/>' for name, *_ in MENAGERIE_LINKS)
    (folder / "ur5e.xml").write_text(
        '<mujoco model="ur5e"><compiler angle="radian" meshdir="assets"/>'
        '<default><geom type="mesh" contype="0" conaffinity="0" group="2"/></default>'
        f"<asset>{meshes}</asset><worldbody>{tree}</worldbody></mujoco>"
    )
    monkeypatch.setenv("MENAGERIE_ROOT", str(tmp_path))
    return folder / "ur5e.xml"


def test_the_menageries_meshes_lie_on_the_links_they_belong_to(checkout):
    pytest.importorskip("mujoco_menagerie")
    source = mujoco.MjModel.from_xml_path(str(checkout))
    model = build_spec(Composition(robot="menagerie")).compile()
    theirs, ours = mujoco.MjData(source), mujoco.MjData(model)
    joints = np.random.default_rng(21).uniform(-3, 3, 6)
    theirs.qpos[:], ours.qpos[:6] = joints, joints
    mujoco.mj_kinematics(source, theirs)
    mujoco.mj_kinematics(model, ours)
    meshes = [geom for geom in range(model.ngeom) if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_MESH]
    links = [model.body(model.geom_bodyid[geom]).name.replace("base_link", "base") for geom in meshes]
    assert links == [name for name, *_ in MENAGERIE_LINKS]
    quarter = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # from their base to ours
    for link, geom in enumerate(meshes):
        # The menagerie rounds link offsets to a millimetre.
        np.testing.assert_allclose(ours.geom_xpos[geom], quarter @ theirs.geom_xpos[link], atol=3e-3)


def test_the_menageries_meshes_change_no_kinematics(checkout):
    pytest.importorskip("mujoco_menagerie")
    plain, meshed = (build_spec(Composition(robot=robot)).compile() for robot in ("ur5e", "menagerie"))
    joints = np.random.default_rng(22).uniform(-3, 3, 6)
    placed = []
    for model in (plain, meshed):
        data = mujoco.MjData(model)
        data.qpos[:6] = joints
        mujoco.mj_kinematics(model, data)
        links = [data.body(name) for name, *_ in MENAGERIE_LINKS[1:]] + [data.body("flange")]
        placed.append([np.concatenate([link.xpos, link.xmat]) for link in links])
    np.testing.assert_array_equal(*placed)
    np.testing.assert_array_equal(plain.jnt_range, meshed.jnt_range)
    np.testing.assert_array_equal(plain.body_mass[:8], meshed.body_mass[:8])
    np.testing.assert_array_equal(plain.actuator_gainprm, meshed.actuator_gainprm)


def test_without_the_menageries_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco_menagerie", None)
    with pytest.raises(SetupError) as error:
        build_spec(Composition(robot="menagerie"))
    assert "pip install 'lohovla[menagerie]'" in error.value.remedy


def test_where_the_meshes_cannot_be_found_the_error_says_where_to_point(tmp_path, monkeypatch):
    pytest.importorskip("mujoco_menagerie")
    monkeypatch.setenv("MENAGERIE_ROOT", str(tmp_path / "nowhere"))
    with pytest.raises(SetupError, match="MENAGERIE_ROOT"):
        build_spec(Composition(robot="menagerie"))
