# syntax=docker/dockerfile:1.7
# The worker with vLLM for CPU, for development and CI without a GPU. Build from the repository's root:
#
#   docker build -f docker/cpu.Dockerfile -t worker-vllm:cpu .
#   docker run --rm -p 127.0.0.1:8000:8000 --shm-size 1g worker-vllm:cpu local --host 0.0.0.0

ARG BASE_IMAGE=python:3.12-slim-bookworm

FROM ${BASE_IMAGE} AS wheel
WORKDIR /source
RUN python3 -m pip install --no-cache-dir hatchling==1.33.0
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
COPY models/parrot ./models/parrot
RUN python3 -m hatchling build --target wheel --directory /dist

FROM ${BASE_IMAGE}
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libnuma1 \
    && rm -rf /var/lib/apt/lists/*

RUN python3 -m pip install --no-cache-dir --no-deps torch==2.13.0+cpu --index-url https://download.pytorch.org/whl/cpu
RUN --mount=type=bind,source=requirements/engine-cpu.lock,target=/engine-cpu.lock \
    python3 -m pip install --no-cache-dir --no-deps --require-hashes --requirement /engine-cpu.lock
RUN --mount=type=bind,from=wheel,source=/dist,target=/dist \
    python3 -m pip install --no-cache-dir --no-index /dist/*.whl

# The information about model classes that vLLM would otherwise compute at each container's first start.
RUN PYTHONDONTWRITEBYTECODE=1 python3 -m worker_vllm.engine.child.model_info_writer

ARG MODEL_NAME=""
ARG MODEL_REVISION=""
ENV MODEL_NAME=${MODEL_NAME} \
    MODEL_REVISION=${MODEL_REVISION} \
    VLLM_CPU_KVCACHE_SPACE=1 \
    BASE_PATH=/runpod-volume \
    WORKER_MANIFEST=/opt/worker-vllm/model/manifest.json \
    PYTHONUNBUFFERED=1

# Another hub for this build alone: --build-arg HF_ENDPOINT=https://your-mirror. It has no default, because an empty
# address would be invalid.
ARG HF_ENDPOINT
RUN --mount=type=secret,id=HF_TOKEN,required=false \
    PYTHONDONTWRITEBYTECODE=1 worker-vllm bake

ARG WORKER_VERSION=3.0.0
ARG SOURCE_URL=""
LABEL org.opencontainers.image.title="worker-vllm (CPU)" \
      org.opencontainers.image.version="${WORKER_VERSION}" \
      org.opencontainers.image.source="${SOURCE_URL}"

# A stop signal that arrives while Python starts stays blocked until the worker can handle it.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10m --retries=3 CMD ["worker-vllm", "health"]
ENTRYPOINT ["env", "--block-signal=TERM", "--block-signal=INT", "worker-vllm"]
CMD ["start"]
