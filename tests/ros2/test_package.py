"""The ROS 2 package: what colcon reads, launch files, parameters as settings; and the files that the image copies."""

import importlib.util
import runpy
import subprocess
import sys
import tomllib
import types
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from lohovla.settings.hydra_config import compose

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ros2" / "lohovla_ros"
LAUNCHES = sorted((PACKAGE / "launch").glob("*.launch.py"))


def module_of(path):
    spec = importlib.util.spec_from_file_location(path.stem.replace(".", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def nodes():
    return module_of(PACKAGE / "lohovla_ros" / "nodes.py")


def test_the_manifest_and_what_setuptools_makes_of_it(tmp_path):
    manifest = ElementTree.parse(PACKAGE / "package.xml").getroot()
    assert manifest.get("format") == "3"
    assert manifest.findtext("export/build_type") == "ament_python"
    name = manifest.findtext("name")
    assert (PACKAGE / "resource" / name).is_file()  # the marker by which ament finds the package
    command = [sys.executable, "setup.py", "-q", "egg_info", "-e", str(tmp_path)]
    subprocess.run(command, cwd=PACKAGE, check=True, capture_output=True)
    made = tmp_path / f"{name}.egg-info"
    assert f"Version: {manifest.findtext('version')}" in (made / "PKG-INFO").read_text()
    assert "guard = lohovla_ros.nodes:guard" in (made / "entry_points.txt").read_text()


def test_everything_is_installed_that_is_there(monkeypatch):
    given = {}
    setuptools = types.ModuleType("setuptools")
    setuptools.setup = lambda **settings: given.update(settings)
    monkeypatch.setitem(sys.modules, "setuptools", setuptools)
    monkeypatch.chdir(PACKAGE)
    runpy.run_path("setup.py")
    installed = {name for _, names in given["data_files"] for name in names}
    assert {f"launch/{file.name}" for file in LAUNCHES} | {"package.xml", "resource/lohovla_ros"} <= installed
    assert {f"config/{file.name}" for file in (PACKAGE / "config").iterdir()} <= installed
    executables = {line.partition(" = ")[0] for line in given["entry_points"]["console_scripts"]}
    assert executables == {"bridge", "guard"}


def stubs():
    """Modules in place of launch and launch_ros, whose objects keep what they are made with."""

    def keeps(kind):
        return lambda *values, **named: SimpleNamespace(kind=kind, values=values, **named)

    made = {}
    for module, names in {
        "launch": ["LaunchDescription"],
        "launch.actions": ["DeclareLaunchArgument"],
        "launch.substitutions": ["LaunchConfiguration", "PathJoinSubstitution"],
        "launch_ros": [],
        "launch_ros.actions": ["Node"],
        "launch_ros.parameter_descriptions": ["ParameterValue"],
        "launch_ros.substitutions": ["FindPackageShare"],
    }.items():
        made[module] = types.ModuleType(module)
        for name in names:
            setattr(made[module], name, keeps(name))
    return made


@pytest.mark.parametrize("file", LAUNCHES, ids=lambda file: file.name)
def test_launch_files_start_nodes_that_there_are(file, monkeypatch, nodes):
    for name, module in stubs().items():
        monkeypatch.setitem(sys.modules, name, module)
    described = module_of(file).generate_launch_description().values[0]
    declared = {entry.values[0] for entry in described if entry.kind == "DeclareLaunchArgument"}
    [node] = [entry for entry in described if entry.kind == "Node"]
    assert node.package == "lohovla_ros"
    assert callable(getattr(nodes, node.executable))
    params, own = node.parameters
    used = {value.values[0].values[0] for value in own.values()}
    used |= {node.namespace.values[0], params.values[0]}
    assert used == declared
    command = "ros" if node.executable == "bridge" else "ros-guard"
    config = compose(command, [])
    assert set(own) <= set(config)
    assert all(entry.description for entry in described if entry.kind == "DeclareLaunchArgument")


@pytest.mark.parametrize("file", LAUNCHES, ids=lambda file: file.name)
def test_launch_files_in_ros_own_words(file):
    pytest.importorskip("launch_ros", reason="no launch_ros here")
    assert module_of(file).generate_launch_description().entities


@pytest.mark.parametrize(("file", "command"), [("bridge.yaml", "ros"), ("guard.yaml", "ros-guard")])
def test_parameters_are_settings(file, command, nodes):
    given = yaml.safe_load((PACKAGE / "config" / file).read_text())["/**"]["ros__parameters"]
    given |= {"profile": "/home/me/my lab.yaml", "shared": ["/camera"], "checkpoint": ""}
    if command == "ros":
        given |= {
            "goal": 'put the red block, quickly, in "it"',
            "loop.limits.velocity": 0.1,
            "dry_run": True,
            "use_sim_time": True,
        }
    given = {"use_sim_time": False, **given}  # which every node has
    given |= {"qos_overrides./clock.subscription.depth": 1}
    config = compose(command, nodes.settings_of(command, given, "/left"))
    assert (config.transport, config.namespace, list(config.shared)) == ("native", "/left", ["/camera"])
    assert (config.robot.name, config.profile) == ("ur5e", "/home/me/my lab.yaml")
    if command == "ros":
        assert config.goal == 'put the red block, quickly, in "it"'
        assert (config.loop.limits.velocity, config.dry_run, config.page.port) == (0.1, True, 8010)
        assert config.use_sim_time


def test_images_that_take_pytorch_with_cuda_leave_its_triton_alone():
    """constraints.txt is of PyTorch for a CPU, beside which Triton may be another: pip could resolve nothing."""
    pinned = (ROOT / "constraints.txt").read_text()
    assert "\ntorch==" in pinned
    assert "\ntriton==" in pinned
    for file in (ROOT / "docker").glob("*Dockerfile"):
        lines = file.read_text().replace("\\\n", " ").splitlines()
        for line in [line for line in lines if line.startswith("RUN") and "-c constraints.txt" in line]:
            assert '"$(grep ^torch== constraints.txt)+cpu"' in line, file


def test_the_image_copies_files_that_there_are_and_starts_what_the_package_has():
    lines = (ROOT / "docker" / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    steps = [line.split() for line in lines if line and not line.startswith("#")]
    known = {"FROM", "RUN", "ENV", "WORKDIR", "COPY", "ENTRYPOINT", "CMD"}
    assert {step[0] for step in steps} <= known
    for step in steps:
        if step[0] == "COPY":
            assert all((ROOT / source).exists() for source in step[1:-1]), step
        if step[0] == "RUN":
            subprocess.run(["sh", "-n", "-c", " ".join(step[1:])], check=True)
    subprocess.run(["bash", "-n", str(ROOT / "docker" / "entrypoint.sh")], check=True)
    command = next(" ".join(step) for step in steps if step[0] == "CMD")
    started = yaml.safe_load(command.partition(" ")[2])
    assert started[:3] == ["ros2", "launch", "lohovla_ros"]
    assert (PACKAGE / "launch" / started[3]).is_file()
    # Every package that pyproject.toml names is copied.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    copied = {source for step in steps if step[0] == "COPY" for source in step[1:-1]}
    folders = {path.partition("/")[0] for path in project.get("package-dir", {}).values()} | {"lohovla"}
    assert folders <= copied
