"""The wire's bytes are those of openpi's client, and nothing on it allocates before it was checked."""

import contextlib
import tracemalloc

import msgpack
import numpy as np
import pytest

from lohovla.client.msgpack_codec import MAX_ITEMS, pack_message, unpack_message
from lohovla.client.request_error import RequestError


def test_an_array_is_a_map_of_four_byte_string_keys():
    raw = msgpack.unpackb(pack_message({"a": np.arange(6, dtype="<i2").reshape(2, 3)}))
    assert raw == {
        "a": {
            b"__ndarray__": True,
            b"data": bytes([0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0]),
            b"dtype": "<i2",
            b"shape": [2, 3],
        }
    }
    assert pack_message({"a": True}) == b"\x81\xa1a\xc3"
    raw = msgpack.unpackb(pack_message({"a": np.float32(0.5)}))
    assert raw == {"a": {b"__npgeneric__": True, b"data": 0.5, b"dtype": "<f4"}}


@pytest.mark.parametrize(
    "value",
    [
        np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        np.arange(24.0).reshape(2, 3, 4)[:, ::2].T,
        np.array(3.5),
        np.zeros((0, 3), np.float32),
        np.array([True, False]),
        np.arange(3, dtype=">f8"),
        np.array(["ab", "c"]),
        np.float32(2.5),
        np.uint8(7),
        np.bool_(True),
    ],
    ids=repr,
)
def test_numpy_comes_back_as_it_went(value):
    found = unpack_message(pack_message({"x": value}))["x"]
    assert type(found) is type(value)
    assert found.dtype == value.dtype
    np.testing.assert_array_equal(found, value)


def test_plain_values_come_back_as_they_went():
    message = {
        "a": None,
        "b": [1, -2, 2**63, 1.5, "ä" * 300],
        "c": {"d": b"\x00" * 70000},
        "e": list(range(70)),
        "f": -70000,
    }
    assert unpack_message(pack_message(message)) == message


@pytest.mark.parametrize("value", [np.zeros(2, complex), np.array([{}], object), np.zeros(1, "i4,i4"), object()])
def test_other_kinds_are_not_sent(value):
    with pytest.raises(TypeError, match="cannot be sent"):
        pack_message({"x": value})


def array(data=b"", dtype="<f4", shape=(0,)):
    return msgpack.packb({"x": {b"__ndarray__": True, b"data": data, b"dtype": dtype, b"shape": shape}})


def scalar(data, dtype):
    return msgpack.packb({"x": {b"__npgeneric__": True, b"data": data, b"dtype": dtype}})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cut short"),
        (b"\xc1", "no msgpack"),
        (b"\x93\x01", "cut short"),
        (pack_message({"a": np.arange(9)})[:-1], "cut short"),
        (pack_message({"a": 1}) + b"\x00", "1 bytes after its end"),
        (b"\xdd\xff\xff\xff\xff", "cut short"),
        (b"\xc6\xff\xff\xff\xff", "cut short"),
        (b"\x01", "a map, not int"),
        (b"\x81\x01\x01", "not valid|no valid|strings"),
        (b"\x81\xc4\x01a\x01", "keys of a message are strings"),
        (b"\x81\xa1\xff\x01", "no valid msgpack"),
        (b"\xd4\x01\x00", "extension"),
        (b"\x91" * 40 + b"\x90", "nested deeper"),
        (b"\x81\xa1x\xdd" + (MAX_ITEMS * 2).to_bytes(4, "big") + b"\x90" * (MAX_ITEMS * 2), "more than 65536"),
        (array(dtype="O"), "'O' are not taken"),
        (array(dtype="<c8"), "'<c8' are not taken"),
        (array(dtype="|V8"), "'.V8' are not taken"),
        (array(dtype="i4,i4"), "no dtype 'i4,i4'"),
        (array(dtype="S0"), "are not taken"),
        (array(dtype="nonsense"), "no dtype 'nonsense'"),
        (array(dtype=3), "no dtype 3"),
        (array(shape=[1 << 40]), "shape cannot be"),
        (array(shape=[-1]), "shape cannot be"),
        (array(shape=[1 << 30, 1 << 30]), "has 4611686018427387904 bytes, not 0 bytes"),
        (array(shape=[True]), "shape cannot be"),
        (array(shape=3), "list of at most 8"),
        (array(shape=[0] * 9), "list of at most 8"),
        (array(data="text"), "bytes, not str"),
        (array(b"abc", "<f4", [1]), "has 4 bytes, not 3 bytes"),
        (scalar(1 << 40, "S4"), "cannot be int"),
        (scalar(1 << 40, "U4"), "cannot be int"),
        (scalar(300, "|u1"), "out of bounds"),
        (scalar("x", "<f4"), "cannot be str"),
        (msgpack.packb({"x": {b"__ndarray__": True}}), "no dtype None"),
    ],
)
def test_what_is_malformed_is_refused_before_anything_is_allocated(data, message):
    tracemalloc.start()
    with pytest.raises(RequestError, match=message):
        unpack_message(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def test_every_cut_of_a_message_is_refused():
    whole = pack_message({"a": np.arange(3), "b": ["x", 1.5, None], "c": {"d": np.float32(1)}})
    for cut in range(len(whole)):
        with pytest.raises(RequestError):
            unpack_message(whole[:cut])


def test_noise_is_refused_or_read_but_never_breaks_anything():
    rng = np.random.default_rng(0)
    whole = bytearray(pack_message({"a": np.arange(3), "b": ["x", 1.5], "c": np.float32(1)}))
    for _ in range(3000):
        broken = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            broken[place] = rng.integers(256)
        with contextlib.suppress(RequestError):
            unpack_message(bytes(broken))
