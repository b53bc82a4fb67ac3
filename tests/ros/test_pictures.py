"""Image formats, and the top view from calibrated cameras."""

import io

import numpy as np
import pytest
from PIL import Image

from lohovla.envs.control.rotations import rotvec_from_matrix
from lohovla.envs.env import BlocksEnv
from lohovla.envs.render.renderer import render
from lohovla.envs.scene.cameras import CAMERAS, rotation_of
from lohovla.errors import UserError
from lohovla.ros.images import BadImage, color_of, compressed, depth_of, image
from lohovla.ros.views import Calibration, TopView, View

COLOR = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
STEPS = np.arange(35, dtype=np.uint16).reshape(5, 7) * 1000


@pytest.mark.parametrize(("encoding", "pixels"), [("rgb8", COLOR), ("bgr8", COLOR[..., ::-1])])
def test_color(encoding, pixels):
    np.testing.assert_array_equal(color_of(image(pixels, encoding, 0.0, "")), COLOR)


def test_alpha_is_left_out():
    bgra = np.dstack([COLOR[..., ::-1], np.full((5, 7), 9, np.uint8)])
    np.testing.assert_array_equal(color_of(image(bgra, "bgra8", 0.0, "")), COLOR)


def test_grey():
    np.testing.assert_array_equal(color_of(image(COLOR[..., 0], "mono8", 0.0, ""))[..., 2], COLOR[..., 0])
    np.testing.assert_array_equal(color_of(image(STEPS, "mono16", 0.0, ""))[..., 0], STEPS >> 8)


def test_padded_rows():
    message = image(COLOR, "rgb8", 0.0, "")
    rows = np.hstack([COLOR.reshape(5, 21), np.zeros((5, 3), np.uint8)])
    message |= {"step": 24, "data": rows.tobytes()}
    np.testing.assert_array_equal(color_of(message), COLOR)


def test_depth():
    np.testing.assert_allclose(depth_of(image(STEPS, "16UC1", 0.0, ""), 0.001), STEPS / 1000.0, rtol=1e-6)
    metres = np.where(STEPS == 0, np.nan, STEPS / 1000.0).astype(np.float32)
    np.testing.assert_allclose(depth_of(image(metres, "32FC1", 0.0, "")), STEPS / 1000.0, rtol=1e-6)
    big = image(STEPS.astype(">u2"), "16UC1", 0.0, "") | {"is_bigendian": 1}
    np.testing.assert_allclose(depth_of(big, 1.0), STEPS)


def test_compressed():
    np.testing.assert_array_equal(color_of(compressed(COLOR, "png", 0.0, "")), COLOR)
    smooth = np.full((16, 16, 3), (200, 50, 50), np.uint8)
    assert np.abs(color_of(compressed(smooth, "jpeg", 0.0, "")).astype(int) - smooth).max() < 6
    file = io.BytesIO()
    Image.fromarray(STEPS).save(file, "png")
    for data in (file.getvalue(), bytes(12) + file.getvalue()):
        np.testing.assert_allclose(depth_of({"format": "16UC1; png", "data": data}, 1.0), STEPS)


@pytest.mark.parametrize(
    "change", [{"data": b"123"}, {"step": 3}, {"encoding": "yuv422"}, {"height": 0}, {"width": 10**6}]
)
def test_pictures_that_are_none(change):
    with pytest.raises(BadImage):
        color_of(image(COLOR, "rgb8", 0.0, "") | change)
    with pytest.raises(BadImage):
        color_of({"format": "jpeg", "data": b"nothing"})


def test_top_view_is_that_of_training():
    env = BlocksEnv("put-block-into-matching-bowl", top_source="fused")
    seen, _ = env.reset(seed=10001)
    views = []
    for name in ("front", "left", "right"):
        camera = CAMERAS[name]
        color, depth = render(env.simulation.model, env.simulation.data, name, camera.width, camera.height)
        pose = {"position": camera.position, "rotation": rotvec_from_matrix(rotation_of(camera))}
        k = [camera.focal, 0.0, 319.5, 0.0, camera.focal, 239.5, 0.0, 0.0, 1.0]
        info = {"width": camera.width, "height": camera.height, "k": k, "d": []}
        calibration = Calibration.of(name, pose, info)
        assert calibration is not None
        views.append(View(calibration, color, depth))
    color, height = TopView(320, 160, every=1)(views)
    assert (np.abs(color.astype(int) - seen["images.top"]).max(axis=-1) > 8).mean() < 0.005
    assert np.abs(height - seen["depth.top"]).mean() < 1e-4


def test_uncalibrated_camera_is_said():
    with pytest.raises(UserError, match="does not say where"):
        Calibration.of("front", {"position": None, "rotation": None}, None)


def test_straightening_leaves_the_centre_and_bends_the_edge():
    camera = Calibration("c", 64, 48, np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]]), (-0.2,), (0, 0, 1), np.eye(3))
    index = camera.straightening()
    assert index is not None
    assert index[24, 32] == 24 * 64 + 32
    assert index[24, 63] % 64 < 63  # barrel distortion: an edge pixel was nearer to the centre
