"""Messages in both generations' form, checked against the definitions that the rosbags package ships."""

import json
import math

import numpy as np
import pytest
from rosbags.typesys import Stores, get_typestore

from lohovla.errors import UserError
from lohovla.ros.robot.pose_conversion import joints_of
from lohovla.ros.transport.message_conversion import from_wire, to_wire
from lohovla.ros.transport.message_types import (
    TYPES,
    BadMessage,
    blank_message,
    check_type,
    seconds_of,
    stamp_of,
    type_name,
)

_STORES = {1: get_typestore(Stores.ROS1_NOETIC), 2: get_typestore(Stores.ROS2_HUMBLE)}
_LACKED = (
    "control_msgs/",
    "ur_dashboard_msgs/",
    "tf2_msgs/",
    "rcl_interfaces/",
)  # by the package, of one generation or both
_KNOWN = sorted(name for name in TYPES if not name.startswith(_LACKED))


@pytest.mark.parametrize("ros_version", [1, 2])
@pytest.mark.parametrize("name", _KNOWN)
def test_fields_are_those_of_the_definition(name, ros_version):
    fields = [field for field, _ in _STORES[ros_version].fielddefs[name.replace("/", "/msg/", 1)][1]]
    fields = [field for field in fields if field != "structure_needs_at_least_one_member"]
    if name == "visualization_msgs/Marker":  # those that both generations have
        assert set(to_wire(name, {}, ros_version)) < set(fields)
        return
    assert sorted(to_wire(name, {}, ros_version)) == sorted(fields)


@pytest.mark.parametrize("ros_version", [1, 2])
@pytest.mark.parametrize("name", sorted(TYPES))
def test_back_from_the_wire(name, ros_version):
    assert from_wire(name, to_wire(name, blank_message(name), ros_version)) == blank_message(name)


def test_time_has_each_generation_s_names():
    message = {"header": {"stamp": stamp_of(12.25), "frame_id": "base"}}
    one, two = (to_wire("geometry_msgs/PoseStamped", message, g)["header"] for g in (1, 2))
    assert one == {"stamp": {"secs": 12, "nsecs": 250000000}, "frame_id": "base", "seq": 0}
    assert two == {"stamp": {"sec": 12, "nanosec": 250000000}, "frame_id": "base"}
    assert type_name("std_msgs/String", 1) == "std_msgs/String"


def test_stamp_does_not_overflow_its_nanoseconds():
    assert stamp_of(1.9999999999) == {"sec": 2, "nanosec": 0}
    assert seconds_of(stamp_of(1700000000.125)) == 1700000000.125


def test_quaternion_is_complete():
    assert to_wire("geometry_msgs/PoseStamped", {}, 1)["pose"]["orientation"]["w"] == 1.0


@pytest.mark.parametrize("value", [math.nan, math.inf, "1", True, None])
def test_numbers_must_be_finite_numbers(value):
    with pytest.raises(BadMessage):
        to_wire("std_msgs/Float64", {"data": value}, 2)


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("std_msgs/Float64", {"date": 1.0}),
        ("std_msgs/Bool", {"data": 1}),
        ("std_msgs/String", {"data": None}),
        ("std_msgs/Float64MultiArray", {"data": [1.0, "2"]}),
        ("std_msgs/Int64", {"data": None}),
        ("std_msgs/Header", {"stamp": {"sec": math.nan, "nanosec": 0}}),
        ("sensor_msgs/Image", {"height": -1}),
        ("sensor_msgs/Image", {"data": "%%"}),
        ("sensor_msgs/CameraInfo", {"K": [1.0]}),
        ("geometry_msgs/PoseStamped", {"pose": 3}),
        ("std_msgs/String", []),
    ],
)
def test_malformed_messages_are_refused(name, wire):
    with pytest.raises(BadMessage):
        from_wire(name, wire)


def test_unknown_type():
    with pytest.raises(UserError):
        check_type("my_msgs/Thing")


@pytest.mark.parametrize(
    "told",
    [
        json.loads('{"velocity": [NaN, 0.5], "effort": [NaN, Infinity]}'),
        {"velocity": [None, 0.5], "effort": [None, None]},
        {"velocity": np.array([np.nan, 0.5]), "effort": np.array([np.nan, np.nan])},
    ],
    ids=["NaN in JSON", "null in JSON", "cbor"],
)
def test_numbers_that_nobody_measures_are_no_reason_to_refuse_a_message(told):
    message = from_wire("sensor_msgs/JointState", {"name": ["a", "b"], "position": [0.1, 0.2], **told})
    np.testing.assert_array_equal(message["velocity"], [math.nan, 0.5])
    assert not np.isfinite(message["effort"]).any()
    np.testing.assert_array_equal(joints_of(message, ["b", "a"]), [0.2, 0.1])


def test_a_server_refuses_null_where_a_client_may_not_write_it():
    with pytest.raises(BadMessage):
        from_wire("std_msgs/Float64", {"data": None}, null=False)
