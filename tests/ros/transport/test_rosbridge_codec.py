"""Frames of the protocol."""

import cbor2
import numpy as np
import pytest

from lohovla.ros.transport.rosbridge_codec import BadFrame, Unpacker, fragments, pack, pack_cbor, pack_png


def test_cbor_carries_bytes_and_typed_arrays():
    operation = {"op": "publish", "msg": {"data": b"\x00\xff", "position": [1.5, -2.0]}}
    frame = pack_cbor(operation)
    assert cbor2.loads(frame)["msg"]["position"].tag == 86
    message = Unpacker()(frame)["msg"]
    assert message["data"] == b"\x00\xff"
    assert message["position"].tolist() == [1.5, -2.0]


@pytest.mark.parametrize(("tag", "kind"), [(69, "<u2"), (72, "i1"), (78, "<i4"), (85, "<f4")])
def test_other_typed_arrays(tag, kind):
    values = np.array([1, 2, 3], kind)
    frame = cbor2.dumps({"op": "x", "v": cbor2.CBORTag(tag, values.tobytes())})
    assert Unpacker()(frame)["v"].tolist() == [1, 2, 3]


def test_fragments_with_a_float_total_in_any_order():
    text = pack({"op": "publish", "msg": {"data": "x" * 60}})
    frames = fragments(text, "a", 20)
    assert any('"total":' in f and f.partition('"total":')[2].rstrip("}") != str(len(frames)) for f in frames)
    unpack = Unpacker()
    answers = [unpack(frame) for frame in reversed(frames)]
    assert answers[:-1] == [None] * (len(frames) - 1)
    assert answers[-1]["msg"]["data"] == "x" * 60


def test_png():
    text = pack({"op": "publish", "msg": {"data": "grün"}})
    assert Unpacker()(pack({"op": "png", "data": pack_png(text)}))["msg"] == {"data": "grün"}


@pytest.mark.parametrize(
    "frame",
    [
        "{",
        "3",
        b"\xff\x00",
        '{"op":"fragment","id":"a"}',
        '{"op":"png","data":"AAAA"}',
        '{"op":"fragment","id":"a","num":5,"total":2,"data":""}',
    ],
)
def test_frames_that_are_none(frame):
    with pytest.raises(BadFrame):
        Unpacker()(frame)


def test_no_number_that_is_not_finite_is_sent():
    with pytest.raises(ValueError, match="JSON"):
        pack({"x": float("nan")})
