# syntax=docker/dockerfile:1.7
# The worker on vLLM's own image. The base contains every dependency; this file adds the worker (one wheel) and, with
# MODEL_NAME, the model.
#
#   docker build -t you/image:tag .
#   docker build -t you/image:tag --secret id=HF_TOKEN --build-arg MODEL_NAME=openchat/openchat_3.5 .

ARG BASE_IMAGE=vllm/vllm-openai:v0.32.0

FROM ${BASE_IMAGE} AS wheel
WORKDIR /source
RUN python3 -m pip install --no-cache-dir --break-system-packages hatchling==1.33.0
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
COPY models/parrot ./models/parrot
RUN python3 -m hatchling build --target wheel --directory /dist

FROM ${BASE_IMAGE}

# The tag names the base's CUDA version, so a base with another version is refused.
ARG WORKER_CUDA_VERSION=13.0.3
RUN if [ -n "${CUDA_VERSION}" ] && [ "${CUDA_VERSION}" != "${WORKER_CUDA_VERSION}" ]; then \
      echo "the base image has CUDA ${CUDA_VERSION}: build with --build-arg WORKER_CUDA_VERSION=${CUDA_VERSION}" >&2; \
      exit 1; \
    fi

# --no-index: the base contains every dependency, and no package of the base is replaced.
RUN --mount=type=bind,from=wheel,source=/dist,target=/dist \
    python3 -m pip install --no-cache-dir --no-index --break-system-packages /dist/*.whl

# The information about model classes that vLLM would otherwise compute at each container's first start; a few hundred
# kilobytes. Without PYTHONDONTWRITEBYTECODE the step would also leave 124 MB of the base's bytecode.
RUN PYTHONDONTWRITEBYTECODE=1 python3 -m worker_vllm.engine.child.model_info_writer

# The linter mistakes TOKENIZER for a token: DL3064 is ignored there.
ARG MODEL_NAME=""
ARG MODEL_REVISION=""
# hadolint ignore=DL3064
ARG TOKENIZER_NAME=""
# hadolint ignore=DL3064
ARG TOKENIZER_REVISION=""
ARG QUANTIZATION=""
ARG LORA_MODULES=""
ARG SPECULATIVE_CONFIG=""
ARG BASE_PATH=/runpod-volume

# The hub caches follow BASE_PATH at run time: $BASE_PATH/huggingface-cache/hub unless HF_HOME or HF_HUB_CACHE is set.
# hadolint ignore=DL3064
ENV MODEL_NAME=${MODEL_NAME} \
    MODEL_REVISION=${MODEL_REVISION} \
    TOKENIZER_NAME=${TOKENIZER_NAME} \
    TOKENIZER_REVISION=${TOKENIZER_REVISION} \
    QUANTIZATION=${QUANTIZATION} \
    LORA_MODULES=${LORA_MODULES} \
    SPECULATIVE_CONFIG=${SPECULATIVE_CONFIG} \
    BASE_PATH=${BASE_PATH} \
    WORKER_MANIFEST=/opt/worker-vllm/model/manifest.json \
    PYTHONUNBUFFERED=1

# Another hub for this build alone: --build-arg HF_ENDPOINT=https://your-mirror. It has no default, because an empty
# address would be invalid.
ARG HF_ENDPOINT

# The token is mounted for this step alone, as a file in memory; no layer, variable or log line contains it.
RUN --mount=type=secret,id=HF_TOKEN,required=false \
    PYTHONDONTWRITEBYTECODE=1 worker-vllm bake

ARG WORKER_VERSION=3.0.0
ARG VCS_REF=""
ARG SOURCE_URL=""
LABEL org.opencontainers.image.title="worker-vllm" \
      org.opencontainers.image.description="Any Hugging Face model as an OpenAI-compatible endpoint on RunPod Serverless, powered by vLLM" \
      org.opencontainers.image.version="${WORKER_VERSION}" \
      org.opencontainers.image.revision="${VCS_REF}" \
      org.opencontainers.image.source="${SOURCE_URL}"

# The worker handles SIGTERM itself (drain, then stop the engine) and, as process 1, reaps orphans. A stop signal that
# arrives while Python starts stays blocked until the worker can handle it.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10m --retries=3 CMD ["worker-vllm", "health"]
ENTRYPOINT ["env", "--block-signal=TERM", "--block-signal=INT", "worker-vllm", "start"]
