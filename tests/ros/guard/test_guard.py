"""The guard: what it lets pass, what it refuses, and how the arm comes to rest, without ROS and without a clock."""

import ast
import json
import subprocess
import sys
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from lohovla.control.motion_limits import MotionLimits
from lohovla.ros.guard import guard_main
from lohovla.ros.guard.guard import Guard, GuardSettings
from lohovla.ros.robot.pose_conversion import pose_message, pose_of
from lohovla.ros.transport.message_types import header

LIMITS = MotionLimits((0.2, -0.5, 0.0), (0.8, 0.5, 0.5), 0.3, 2.0, 40.0, 1.0, 6.0, 120.0)
NAMES = tuple("abcdef")
POSE = GuardSettings(
    "pose",
    "/target",
    {"kind": "number", "topic": "/hand"},
    "base",
    "/tool",
    "/joints",
    NAMES,
    asdict(LIMITS),
    joint_limits={"velocity": 1.0, "acceleration": 4.0, "jerk": 60.0, "low": -3.0, "high": 3.0},
)
HERE = np.array([0.5, 0.0, 0.2, 0.0, 0.0, 0.0])
STEP = 0.02


def by(x, yaw=0.0):
    return np.array([x, 0.0, 0.0, 0.0, 0.0, yaw])


def pose(place, stamp=0.0, frame="base"):
    return {"header": header(stamp, frame), "pose": pose_message(np.asarray(place, float))}


def twist(linear, frame="base"):
    parts = {"linear": dict(zip("xyz", linear, strict=True)), "angular": dict.fromkeys("xyz", 0.0)}
    return {"header": header(0.0, frame), "twist": parts}


def trajectory(positions, velocities, names=NAMES):
    due = {"sec": 0, "nanosec": 100_000_000}
    point = {"positions": list(positions), "velocities": list(velocities), "time_from_start": due}
    return {"header": header(0.0, "base"), "joint_names": list(names), "points": [point]}


class Arm:
    """A guard, with the arm's state and the enable repeated to it; time goes in steps of 20 ms."""

    def __init__(self, settings=POSE, place=HERE):
        self.guard, self.now, self.place = Guard(settings), 100.0, np.array(place)
        self.joints, self.held, self.told, self.drift = np.zeros(6), True, True, np.zeros(6)
        self.turn = np.zeros(6)
        self.tick()

    def tick(self):
        self.now += STEP
        self.place, self.joints = self.place + self.drift * STEP, self.joints + self.turn * STEP
        if self.held:
            self.guard.hear_enable(True, self.now)
        if self.told:
            self.guard.hear_tool(pose(self.place), self.now)
            self.guard.hear_joints({"name": NAMES[::-1], "position": self.joints[::-1].tolist()}, self.now)
        return self._obey(self.guard.tick(self.now))

    def _obey(self, message):
        """Do as the controller is told."""
        if message is not None and "twist" in message:
            self.drift = by(message["twist"]["linear"]["x"])
        elif message is not None and "pose" in message:
            self.place = pose_of(message["pose"])
        elif message is not None:
            speeds = dict(zip(message["joint_names"], message["points"][0]["velocities"], strict=True))
            self.turn = np.array([speeds[name] for name in NAMES])
        return message

    def send(self, message):
        return self._obey(self.guard.command(message, self.now))

    def glide(self, steps=20, speed=0.25):
        """Speed up along x to ``speed``, and go on."""
        for k in range(steps):
            velocity = speed * min((k + 1) / 10, 1.0)
            assert self.send(pose(self.place + by(velocity * STEP), 1000.0 + self.now)), self.cause
            assert self.tick() is None
        return self

    def brake(self):
        """What the arm is told until nothing more comes."""
        told = []
        while self.guard.state != "idle":
            message = self.tick()
            told += [message] if message is not None else []
            assert len(told) < 500
        return told

    @property
    def cause(self):
        return self.guard.refusal


def test_sound_commands_pass_unchanged():
    arm = Arm()
    message = pose(HERE + by(0.002), 5.0)
    assert arm.send(message) is message
    assert arm.guard.state == "relaying"
    assert arm.guard.gripper(0.5, arm.now) == 0.5


def test_a_stop_is_smooth():
    arm = Arm().glide()
    start = arm.place[0]
    arm.place = arm.place + by(0.005)  # where it is when the guard looks next
    arm.guard.hear_emergency(True, arm.now)
    told = arm.brake()
    path = np.array([start, *(pose_of(message["pose"])[0] for message in told)])
    speed = np.diff(path) / STEP
    assert 0.2 < speed[0] <= 0.25 + 1e-9  # it goes on from the speed it had
    assert np.abs(np.diff(speed)).max() / STEP <= LIMITS.acceleration + 1e-6
    assert np.abs(np.diff(speed, n=2)).max() / STEP**2 <= LIMITS.jerk + 1e-6
    assert speed[-1] == pytest.approx(0.0, abs=1e-9)
    assert path[-1] - start < 0.25**2 / LIMITS.acceleration + 0.25 * 0.1


def test_the_arm_of_a_dead_client_is_left_alone_where_its_controller_keeps_the_place():
    arm = Arm().glide()
    assert arm.brake() == []
    assert [event.kind for event in arm.guard.events] == ["brake", "at rest"]
    assert "no command for" in arm.guard.events[0].cause


@pytest.mark.parametrize(
    ("lapse", "cause"),
    [
        (lambda arm: arm.guard.hear_enable(False, arm.now) or setattr(arm, "held", False), "enable"),
        (lambda arm: setattr(arm, "told", False), "state"),
        (lambda arm: arm.guard.hear_emergency(True, arm.now), "emergency"),
        (lambda arm: arm.guard.hear_emergency(True, arm.now, "bridge"), "emergency"),
        (lambda arm: arm.guard.shut_down(arm.now), "ends"),
    ],
)
def test_everything_that_lapses_brakes_though_commands_go_on(lapse, cause):
    arm = Arm().glide()
    lapse(arm)
    for _ in range(15):
        arm.send(pose(arm.place + by(0.005), 1000.0 + arm.now))
        arm.tick()
    assert cause in next(event.cause for event in arm.guard.events if event.kind == "brake")
    assert arm.guard.gripper(1.0, arm.now) is None
    assert arm.brake()
    assert arm.send(pose(arm.place, 1001.0 + arm.now)) is None or cause == "state"


def test_emergency_stands_until_it_is_released():
    arm = Arm()
    arm.guard.hear_emergency(True, arm.now)
    assert arm.send(pose(HERE, 1.0)) is None
    arm.guard.hear_emergency(False, arm.now, "bridge")  # the bridge knows nothing of it
    assert arm.send(pose(HERE, 2.0)) is None
    arm.guard.hear_emergency(False, arm.now)
    assert arm.send(pose(HERE, 3.0)) is not None


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (pose([0.81, 0, 0.2, 0, 0, 0]), "outside"),
        (pose(HERE + by(0.06)), "from the arm"),
        (pose(HERE + by(0.0, 0.3)), "from the arm"),
        (pose(HERE, frame="tool0"), "frame"),
        ({**pose(HERE), "pose": {**pose_message(HERE), "orientation": dict.fromkeys("xyzw", 0.4)}}, "length 1"),
    ],
)
def test_poses_that_are_refused(message, cause):
    arm = Arm(place=HERE if "outside" not in cause else [0.79, 0, 0.2, 0, 0, 0])
    assert arm.send(message) is None
    assert cause in arm.cause
    assert arm.guard.state == "idle"


def test_speed_by_stamps_whatever_the_network_does():
    arm = Arm().glide()
    burst = [pose(arm.place + by(0.005 * (k + 1)), 1000.0 + arm.now + STEP * k) for k in range(3)]
    assert all(arm.send(message) for message in burst)
    arm.tick()
    assert arm.send(pose(arm.place + by(0.02), 1000.0 + arm.now + 2 * STEP)) is None
    assert "faster" in arm.cause


def test_old_commands_do_not_count():
    arm = Arm().glide()
    last = 1000.0 + arm.now
    assert arm.send(pose(arm.place, last - 0.5)) is None
    assert "older" in arm.cause
    for _ in range(30):
        arm.tick()
    arm.brake()
    assert arm.send(pose(arm.place, last + 0.02)) is None  # it was 0.6 s on its way
    assert "on its way" in arm.cause


def test_after_a_stop_it_goes_on_from_the_arm():
    arm = Arm().glide()
    arm.brake()
    assert arm.send(pose(arm.place + by(0.004), 1000.0 + arm.now))


def test_twists():
    arm = Arm(replace(POSE, kind="twist"))
    assert arm.send(twist([0.3, 0.0, 0.0]))
    for _ in range(5):
        assert arm.tick() is None
        assert arm.send(twist([0.3, 0.0, 0.0]))
    assert arm.send(twist([0.4, 0.0, 0.0])) is None
    assert "faster" in arm.cause
    told = np.array([message["twist"]["linear"]["x"] for message in arm.brake()])
    assert told[0] > 0.25
    assert np.abs(np.diff(told)).max() <= LIMITS.acceleration * STEP + 1e-9
    assert (told[-5:] == 0.0).all()  # a twist goes on until another comes: rest is said again
    arm.place = np.array([0.78, 0.0, 0.2, 0, 0, 0])
    for _ in range(4):
        arm.tick()
    assert arm.send(twist([0.3, 0.0, 0.0])) is None
    assert "outside" in arm.cause
    assert arm.send(twist([-0.3, 0.0, 0.0]))


def test_a_velocity_that_is_hardly_one_ends_too():
    arm = Arm(replace(POSE, kind="twist"))
    assert arm.send(twist([0.0005, 0.0, 0.0]))
    told = arm.brake()
    assert told
    assert not any(told[-1]["twist"]["linear"].values())


def test_trajectories():
    arm = Arm(replace(POSE, kind="trajectory", tool=""))
    order = NAMES[::-1]
    assert arm.send(trajectory([0.0] * 5 + [0.01], [0.0] * 5 + [0.5], order))  # of joint a
    for positions, velocities, names, cause in (
        ([0.01] * 6, [0.0] * 6, (*NAMES[:5], "x"), "joints"),
        ([4.0] * 6, [0.0] * 6, NAMES, "beyond"),
        ([0.01] * 6, [2.0] * 6, NAMES, "faster"),
        ([0.5] * 6, [0.0] * 6, NAMES, "leaps"),
        ([0.01] * 6, [], NAMES, "not a point"),
    ):
        assert arm.send(trajectory(positions, velocities, names)) is None
        assert cause in arm.cause
    for _ in range(4):
        arm.tick()
        assert arm.send(trajectory([*arm.joints[1:][::-1], arm.joints[0]], [0.0] * 5 + [0.5], order))
    arm.guard.hear_emergency(True, arm.now)
    told = arm.brake()
    speeds = np.array([message["points"][0]["velocities"] for message in told])
    assert speeds[0][0] > 0.4
    assert (speeds[:, 1:] == 0.0).all()
    assert speeds[-1] == pytest.approx(0.0, abs=1e-9)


def test_a_joint_arm_outside_its_workspace_stays():
    arm = Arm(replace(POSE, kind="trajectory"), place=[0.9, 0, 0.2, 0, 0, 0])
    assert arm.send(trajectory([0.0] * 6, [0.0] * 6)) is None
    assert "outside" in arm.cause


def test_settings_travel_as_json():
    assert GuardSettings.from_json(json.loads(json.dumps(POSE.as_json()))) == replace(
        POSE, limits=json.loads(json.dumps(asdict(LIMITS)))
    )


def test_the_file_for_the_robot_needs_numpy_only(tmp_path):
    file = tmp_path / "guard.pyz"
    guard_main.write_app(file, POSE, 1)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); "
        "from lohovla.ros.guard import guard_main; from lohovla.ros.transport import installed_ros; "
        "bad = {'torch', 'mujoco', 'hydra', 'websockets'} & set(sys.modules); assert not bad, bad; "
        "import lohovla; assert lohovla.__file__.startswith(sys.argv[1]); print('sound')"
    )
    answer = subprocess.run([sys.executable, "-c", script, str(file)], capture_output=True, text=True, cwd=tmp_path)
    assert answer.stdout == "sound\n", answer.stderr
    assert Path(guard_main.__file__).read_bytes() == zipfile.ZipFile(file).read("lohovla/ros/guard/guard_main.py")


PACKED = [pytest.param(name, id=name) for name in guard_main.MODULES]
ROOT = Path(guard_main.__file__).parents[2]


def tree_of(name, version=None):
    return ast.parse((ROOT / f"{name}.py").read_text(encoding="utf-8"), name, feature_version=version)


@pytest.mark.parametrize("name", PACKED)
def test_everything_that_the_packed_guard_imports_is_packed(name):
    wanted = set()
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are whole"
            wanted.add(node.module)
            wanted |= {f"{node.module}.{one.name}" for one in node.names}
        elif isinstance(node, ast.Import):
            wanted |= {one.name for one in node.names}
    ours = {part for part in wanted if part.split(".")[0] == "lohovla"}
    files = {part: part.replace("lohovla", "", 1).strip(".").replace(".", "/") for part in ours}
    for part, path in files.items():
        if (ROOT / f"{path}.py").exists():
            assert path in guard_main.MODULES, part


@pytest.mark.parametrize("name", PACKED)
def test_the_packed_guard_is_python_3_8(name):
    tree = tree_of(name, (3, 8))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            word = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if word in ("removeprefix", "removesuffix", "pairwise", "batched", "anext", "aiter", "cache"):
                found.append(f"{word} at {node.lineno}")
            if word == "zip" and node.keywords:
                found.append(f"zip(strict=) at {node.lineno}")
            if word in ("isinstance", "issubclass") and isinstance(node.args[1], ast.BinOp):
                found.append(f"a union at {node.lineno}")
            if word == "dataclass" and {one.arg for one in node.keywords} & {"slots", "kw_only"}:
                found.append(f"dataclass at {node.lineno}")
        elif isinstance(node, (ast.BinOp, ast.AugAssign)) and isinstance(node.op, ast.BitOr):
            sides = (node.left, node.right) if isinstance(node, ast.BinOp) else (node.value,)
            if any(isinstance(side, (ast.Dict, ast.DictComp)) for side in sides):
                found.append(f"dicts joined by | at {node.lineno}")
    # Annotations are never evaluated; whatever else subscripts a built-in class is.
    assert name.endswith("__init__") or any(
        isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body
    )
    for node in _run_nodes(tree):
        name_of = getattr(node.value, "id", "") if isinstance(node, ast.Subscript) else ""
        if name_of in ("dict", "list", "tuple", "set", "type", "deque", "Mapping", "Sequence"):
            found.append(f"{name_of}[...] at {node.lineno}")
    assert not found


def _run_nodes(tree):
    """All nodes but annotations."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for field, value in ast.iter_fields(node):
            if field not in ("annotation", "returns"):
                waiting += [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, ast.AST)]


def test_a_guard_that_refuses_everything_says_why_and_lets_the_client_try_again():
    arm = Arm()
    for k in range(10):
        arm.tick()
        assert arm.send(pose(HERE, 1.0 + k, frame="tool0")) is None
        assert bool(arm.guard.refuses(arm.now)) == (k >= 4)
    assert "frame 'tool0'" in arm.guard.refuses(arm.now)
    for _ in range(60):
        arm.tick()
    assert arm.guard.refuses(arm.now) == ""
    assert arm.send(pose(HERE, 12.0))
    for _ in range(3):  # one or another that is refused is nothing to speak of
        arm.tick()
        arm.send(pose(HERE + by(0.3), 12.1))
    assert arm.guard.refuses(arm.now) == ""


def test_a_brake_says_which_commands_were_refused_before():
    arm = Arm().glide()
    for _ in range(15):
        arm.send(pose(arm.place, 1000.0 + arm.now, frame="tool0"))
        arm.tick()
    assert "no sound command for 0.2" in arm.guard.cause
    assert "frame 'tool0'" in arm.guard.cause


def test_what_goes_on_is_logged_once():
    arm = Arm()
    for k in range(200):  # two causes by turns, with other numbers each time, and a button that is pressed again
        arm.send(pose(HERE + by(0.1 + 0.001 * k), 1.0 + k))
        arm.send(pose(HERE, 1.5 + k, frame="tool0"))
        arm.tick()
    assert kinds_of(arm.guard.take_events()) == ["refused", "refused"]
    for k in range(200):
        arm.guard.hear_emergency(True, arm.now)
        arm.guard.hear_emergency(True, arm.now, "bridge")
        if k % 2:
            arm.guard.hear_emergency(False, arm.now)  # and another that releases it each time
        arm.send(pose(HERE, 300.0 + k))
        arm.tick()
    assert kinds_of(arm.guard.take_events()) == ["emergency stop", "emergency stop", "refused", "refused"]


def kinds_of(events):
    return [event.kind for event in events]


def test_of_two_that_send_the_enable_the_one_counts_that_lets_go():
    arm = Arm().glide()
    for _ in range(30):
        arm.guard.hear_enable(False, arm.now)
        arm.tick()  # and the other holds it
        arm.send(pose(arm.place, 1000.0 + arm.now))
    assert kinds_of(arm.guard.events) == ["brake", "at rest", "refused"]
    for _ in range(30):
        arm.tick()
    assert arm.send(pose(arm.place, 1000.0 + arm.now))


def test_no_clock_that_is_set_makes_a_leap_seem_slow():
    arm = Arm().glide()
    assert arm.send(pose(arm.place + by(0.15), 5000.0 + arm.now)) is None
    assert "faster" in arm.guard.refusal
