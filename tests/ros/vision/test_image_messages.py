"""Image formats, and the top view from calibrated cameras."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from lohovla.envs.env import BlocksEnv
from lohovla.envs.render.renderer import render_camera_picture
from lohovla.envs.scene.cameras import CAMERAS, rotation_of
from lohovla.errors import UserError
from lohovla.geometry.rotations import rotvec_from_matrix
from lohovla.ros.vision.image_messages import BadImage, color_of, compressed, depth_of, image
from lohovla.ros.vision.lens_distortion import distort, model_of
from lohovla.ros.vision.top_view import Calibration, CameraView, TopView

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


def _float_depth(depth, a=100.0 * 101.0, farthest=10.0):
    """What compressed_depth_image_transport makes of 32FC1, with its own defaults."""
    b = 1.0 - a / farthest
    file, steps = io.BytesIO(), np.where(depth > 0, np.rint(a / np.maximum(depth, 1e-6) + b), 0)
    Image.fromarray(steps.astype(np.uint16)).save(file, "png")
    return struct.pack("<iff", 0, a, b) + file.getvalue()


def test_compressed_depth_of_floats():
    depth = np.array([[0.4, 0.5, 0.6], [0.7, 2.0, 0.0]], np.float32)
    found = depth_of({"format": "32FC1; compressedDepth png", "data": _float_depth(depth)}, 0.001)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, depth, atol=1e-3)
    assert found[1, 2] == 0.0


@pytest.mark.parametrize("format", ["16UC1; compressedDepth", "16UC1; compressedDepth png", "16UC1; png compressed "])
def test_compressed_depth_of_steps(format):
    file = io.BytesIO()
    Image.fromarray(STEPS).save(file, "png")
    np.testing.assert_allclose(depth_of({"format": format, "data": bytes(12) + file.getvalue()}, 1.0), STEPS)


@pytest.mark.parametrize(
    ("format", "data"),
    [
        ("16UC1; compressedDepth rvl", bytes(40)),
        ("32FC1; compressedDepth rvl", bytes(40)),
        ("bgr8; jpeg compressed bgr8", b"\xff\xd8\xff\xe0" + bytes(40)),
        ("32FC1; png compressed ", b"\x89PNG" + bytes(40)),
        ("16UC1; something new", bytes(40)),
    ],
)
def test_compressed_depth_that_is_not_known_is_refused_by_its_format(format, data):
    with pytest.raises(BadImage, match=format):
        depth_of({"format": format, "data": data})


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
        color, depth = render_camera_picture(
            env.simulation.model, env.simulation.data, name, camera.width, camera.height
        )
        pose = {"position": camera.position, "rotation": rotvec_from_matrix(rotation_of(camera))}
        k = [camera.focal, 0.0, 319.5, 0.0, camera.focal, 239.5, 0.0, 0.0, 1.0]
        info = {"width": camera.width, "height": camera.height, "k": k, "d": [], "distortion_model": ""}
        calibration = Calibration.from_message(name, pose, info)
        assert calibration is not None
        views.append(CameraView(calibration, color, depth))
    color, height = TopView(320, 160, every=1)(views)
    assert (np.abs(color.astype(int) - seen["images.top"]).max(axis=-1) > 8).mean() < 0.005
    assert np.abs(height - seen["depth.top"]).mean() < 1e-4


def test_uncalibrated_camera_is_said():
    with pytest.raises(UserError, match="does not say where"):
        Calibration.from_message("front", {"position": None, "rotation": None}, None)


def test_straightening_leaves_the_centre_and_bends_the_edge():
    camera = Calibration("c", 64, 48, np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]]), (-0.2,), (0, 0, 1), np.eye(3))
    index = camera.straightening()
    assert index is not None
    assert index[24, 32] == 24 * 64 + 32
    assert index[24, 63] % 64 < 63  # barrel distortion: an edge pixel was nearer to the centre


PLACES = np.array([[0.3, -0.2], [-0.5, 0.4], [0.0, 0.6]])
RATIONAL = [0.5, -0.3, 0.001, -0.002, 0.05, 0.8, -0.2, 0.02]


@pytest.mark.parametrize(
    ("model", "coefficients", "bent"),
    [  # computed with OpenCV 4: projectPoints, and fisheye.distortPoints
        (
            "plumb_bob",
            [-0.3, 0.1, 0.01, -0.02, 0.05],
            [[0.281439955, -0.18805997], [-0.470828025, 0.37420242], [-0.0072, 0.55517568]],
        ),
        (
            "rational_polynomial",
            RATIONAL,
            [[0.288187386, -0.192168257], [-0.449068746, 0.359008997], [-0.00072, 0.544282338]],
        ),
        (
            "rational_polynomial",
            [*RATIONAL, 0.01, -0.02, 0.03, 0.004],
            [[0.289149386, -0.188200657], [-0.448330746, 0.371981397], [0.000288, 0.555600738]],
        ),
        (
            "fisheye",
            [-0.05, 0.02, -0.01, 0.003],
            [[0.286282311, -0.190854874], [-0.438317923, 0.350654338], [0.0, 0.533327012]],
        ),
    ],
)
def test_lenses_bend_as_their_models_say(model, coefficients, bent):
    known = model_of(model, coefficients, "front")
    found = np.stack(distort(known, coefficients, PLACES[:, 0], PLACES[:, 1]), 1)
    np.testing.assert_allclose(found, bent, atol=1e-8)


def info_of(model, d):
    k = [50.0, 0.0, 31.5, 0.0, 50.0, 23.5, 0.0, 0.0, 1.0]
    return {"width": 64, "height": 48, "k": k, "d": d, "distortion_model": model}


def test_a_fisheye_without_coefficients_bends_too():
    pose = {"position": [0, 0, 1], "rotation": [0, 0, 0]}
    camera = Calibration.from_message("front", pose, info_of("equidistant", [0.0] * 4))
    index = camera.straightening()
    assert index[24, 32] == 24 * 64 + 32
    assert index[24, 63] % 64 == int(32 + 50 * np.arctan(31.5 / 50))
    straight = Calibration.from_message("front", pose, info_of("plumb_bob", [0.0] * 5))
    assert straight.straightening() is None


def test_what_a_bent_picture_does_not_show_is_no_point():
    pose = {"position": [0, 0, 1], "rotation": [0, 0, 0]}
    camera = Calibration.from_message(
        "front", pose, info_of("plumb_bob", [0.8])
    )  # pincushion: the edges came from outside
    index = camera.straightening()
    assert index[24, 63] == -1
    assert index[24, 32] == 24 * 64 + 32
    seen, _ = TopView(64, 48, every=1)._points(CameraView(camera, np.zeros((48, 64, 3), np.uint8), np.ones((48, 64))))
    assert len(seen) == (index >= 0).sum()


@pytest.mark.parametrize(
    ("model", "d", "cause"),
    [
        ("inverse_brown_conrady", [0.1, 0.0, 0.0, 0.0, 0.0], "inverse_brown_conrady"),
        ("double_sphere", [0.1, 0.2], "double_sphere"),
        ("rational_polynomial", [0.1] * 14, "14 distortion coefficients"),
    ],
)
def test_a_distortion_model_that_is_not_known_is_refused_by_name(model, d, cause):
    pose = {"position": [0, 0, 1], "rotation": [0, 0, 0]}
    with pytest.raises(UserError, match=cause):
        Calibration.from_message("front", pose, info_of(model, d))
    assert Calibration.from_message("front", pose, info_of("inverse_brown_conrady", [0.0] * 5)).straightening() is None
