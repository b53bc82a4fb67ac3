"""A request is checked before it joins a batch."""

import io

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

from lohovla.client.image_codec import encode_picture
from lohovla.client.msgpack_codec import pack_message
from lohovla.client.request_error import RequestError
from lohovla.serve.policy.observation_schema import ObservationSchema

SPACE = {
    "state": gym.spaces.Box(-9.0, 9.0, (4,), np.float32),
    "images.top": gym.spaces.Box(0, 255, (8, 16, 3), np.uint8),
    "instruction": gym.spaces.Text(100),
}
PICTURE = np.random.default_rng(0).integers(0, 256, (8, 16, 3), np.uint8)
GOOD = {"state": np.arange(4, dtype=np.float32), "images.top": PICTURE, "instruction": "Put it there."}


def parse(**changes):
    return ObservationSchema(tuple(SPACE), SPACE).parse(pack_message({**GOOD, **changes}))


def test_a_request_is_what_the_policy_reads_and_what_the_server_does():
    request = parse(**{"request.id": 7, "request.episode": "a", "request.seed": 3, "something.else": b"x" * 1000})
    assert request.observation.keys() == GOOD.keys()
    assert request.extras == {"id": 7, "episode": "a", "seed": 3}
    assert request.echo == {"request.id": 7, "request.episode": "a"}


def test_numbers_take_the_type_that_is_expected():
    for state in (np.arange(4), np.arange(4.0), [0, 1, 2, 3], [0.0, 1, 2.0, 3]):
        found = parse(state=state).observation["state"]
        assert found.dtype == np.float32
        assert found.tolist() == [0, 1, 2, 3]


def test_coded_pictures_come_back():
    png = parse(**{"images.top": encode_picture(PICTURE, "png")}).observation["images.top"]
    np.testing.assert_array_equal(png, PICTURE)
    smooth = np.full((8, 16, 3), 100, np.uint8)
    jpeg = parse(**{"images.top": encode_picture(smooth, "jpeg")}).observation["images.top"]
    assert np.abs(jpeg.astype(int) - 100).max() <= 2
    assert encode_picture(PICTURE, "raw") is PICTURE


def coded(size, kind):
    file = io.BytesIO()
    Image.new("RGB", size).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": None}, "state is an array, not NoneType"),
        ({"state": np.zeros(5, np.float32)}, r"state has shape \(4,\), not \(5,\)"),
        ({"state": np.array([0, 0, 0, np.nan])}, "no finite number"),
        ({"state": [0, 0, 0, "x"]}, "array of numbers"),
        ({"state": np.array(["a"] * 4)}, "state is float32"),
        ({"images.top": PICTURE.astype(np.float32)}, "images.top is uint8, not float32"),
        ({"images.top": PICTURE[:, :8]}, r"shape \(8, 16, 3\), not \(8, 8, 3\)"),
        ({"images.top": {"jpeg": b"no picture"}}, "jpeg picture cannot be read"),
        ({"images.top": {"jpeg": coded((16, 8), "PNG")}}, "jpeg picture cannot be read"),
        ({"images.top": {"gif": coded((16, 8), "GIF")}}, "is an array, not dict"),
        ({"images.top": {"png": coded((4000, 4000), "PNG")}}, "4000 x 4000 is too large"),
        ({"images.top": {"png": coded((8, 16), "PNG")}}, r"not \(16, 8, 3\)"),
        ({"images.top": {"png": coded((16, 8), "PNG")[:-30]}}, "png picture cannot be read"),
        ({"images.top": {"png": 3}}, "bytes, not int"),
        ({"instruction": 3}, "instruction is a string"),
        ({"instruction": "x" * 5000}, "at most 4096"),
        ({"request.sead": 3}, "no request.sead"),
        ({"request.seed": -1}, "request.seed cannot be -1"),
        ({"request.seed": True}, "request.seed cannot be True"),
        ({"request.reset": 1}, "request.reset cannot be 1"),
        ({"request.deadline_ms": 0}, "request.deadline_ms cannot be 0"),
        ({"request.reward": float("nan")}, "request.reward cannot be nan"),
        ({"request.episode": "x" * 200}, "request.episode cannot be"),
    ],
)
def test_what_does_not_fit_is_named(changes, message):
    with pytest.raises(RequestError, match=message):
        parse(**changes)


def test_a_missing_key_is_named():
    with pytest.raises(RequestError, match=r"lacks 'images\.top'; the policy reads state, images.top, instruction"):
        ObservationSchema(tuple(SPACE), SPACE).parse(pack_message({"state": np.zeros(4)}))
