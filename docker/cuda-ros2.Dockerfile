# The model on CUDA beside ROS 2 Jazzy, for the computer that has the GPU. Build from the repository's root:
#   docker build -f docker/cuda-ros2.Dockerfile -t lohovla-cuda .
#   docker run --rm -it --gpus all --network host --ipc host lohovla-cuda lohovla ros robot=ur5e transport=native ...
# PyTorch's wheels bring CUDA's libraries; the host brings the driver and NVIDIA's container toolkit. The guard alone, on
# the robot's computer, needs no GPU: docker/Dockerfile.
FROM ros:jazzy-ros-base

RUN apt-get update && apt-get install -y --no-install-recommends \
      python3-venv python3-pip python3-dev gcc libegl1 libgl1 libosmesa6 \
      ros-jazzy-control-msgs ros-jazzy-trajectory-msgs ros-jazzy-visualization-msgs ros-jazzy-tf2-msgs \
      ros-jazzy-actionlib-msgs ros-jazzy-diagnostic-msgs ros-jazzy-rosbridge-suite \
    && rm -rf /var/lib/apt/lists/*

# What NVIDIA's toolkit gives to the container: computing, and EGL for the simulator's pictures.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics

RUN python3 -m venv --system-site-packages /opt/lohovla
ENV PATH=/opt/lohovla/bin:$PATH

WORKDIR /opt/src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY lohovla lohovla
COPY envs envs
COPY policies policies
COPY kernels kernels
COPY configs configs
COPY benchmarks benchmarks
# PyTorch with CUDA brings the Triton that it was built with; constraints.txt names the one beside PyTorch without it.
RUN grep -v ^triton== constraints.txt > gpu-constraints.txt \
    && pip install --no-cache-dir '.[ros,serve,gpu]' -c gpu-constraints.txt

COPY ros2 /opt/ws/src
RUN . /opt/ros/jazzy/setup.sh && pip install --no-cache-dir colcon-common-extensions \
    && cd /opt/ws && python3 -m colcon build --packages-select lohovla_ros

COPY docker/entrypoint.sh /entrypoint.sh
ENTRYPOINT ["/entrypoint.sh"]
CMD ["lohovla", "--help"]
