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
# The index of PyTorch's CPU wheels, a quarter of the size: --build-arg TORCH_INDEX=URL (pytorch.org names it). Without it
# they bring CUDA's libraries, which do no harm.
ARG TORCH_INDEX=""
# The Triton that is pinned is of PyTorch for a CPU; that with CUDA brings its own.
RUN grep -v '^triton==' constraints.txt > versions.txt \
    && pip install --no-cache-dir torch -c versions.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} \
    && pip install --no-cache-dir '.[serve,ros,viz]' -c versions.txt

RUN useradd --create-home lohovla && install -d -o lohovla /home/lohovla/outputs
USER lohovla
WORKDIR /home/lohovla
ENTRYPOINT ["lohovla"]
CMD ["--help"]
