# The commands on a CPU. Build from the repository's root:
#   docker build -f docker/cpu.Dockerfile -t lohovla .
#   docker run --rm -v "$PWD/outputs:/home/lohovla/outputs" lohovla demo
FROM python:3.12-slim-bookworm

RUN apt-get update && apt-get install -y --no-install-recommends libegl1 libgl1 libgl1-mesa-dri libosmesa6 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY lohovla lohovla
COPY envs envs
COPY policies policies
COPY kernels kernels
COPY configs configs
COPY benchmarks benchmarks
# PyTorch without CUDA's libraries: a quarter of the size.
RUN pip install --no-cache-dir torch --index-url https://download.pytorch.org/whl/cpu \
    && pip install --no-cache-dir '.[serve,ros,viz]'

RUN useradd --create-home lohovla && install -d -o lohovla /home/lohovla/outputs
USER lohovla
WORKDIR /home/lohovla
ENTRYPOINT ["lohovla"]
CMD ["--help"]
