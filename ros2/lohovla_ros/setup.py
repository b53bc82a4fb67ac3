"""The ROS 2 package: built by colcon, in a workspace whose Python has lohovla."""

from glob import glob

from setuptools import setup

NAME = "lohovla_ros"

setup(
    name=NAME,
    version="0.1.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", sorted(glob("launch/*.launch.py"))),
        (f"share/{NAME}/config", sorted(glob("config/*.yaml"))),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    maintainer="the LoHoVLA maintainers",
    maintainer_email="maintainers@lohovla.invalid",
    description="LoHoVLA's bridge and guard as ROS 2 nodes",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [f"bridge = {NAME}.nodes:bridge", f"guard = {NAME}.nodes:guard"],
    },
)
