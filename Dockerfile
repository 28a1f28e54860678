# syntax=docker/dockerfile:1.7
# The worker on vLLM's own image. The base brings every dependency: what is added here is the worker itself (one wheel)
# and, when MODEL_NAME is given, the model.
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

# The tag names the base's CUDA; a base with another one is refused rather than mislabelled.
ARG WORKER_CUDA_VERSION=13.0.3
RUN if [ -n "${CUDA_VERSION}" ] && [ "${CUDA_VERSION}" != "${WORKER_CUDA_VERSION}" ]; then \
      echo "the base image has CUDA ${CUDA_VERSION}: build with --build-arg WORKER_CUDA_VERSION=${CUDA_VERSION}" >&2; \
      exit 1; \
    fi

# --no-index: everything the worker needs is in the base already, and nothing of the base is replaced.
RUN --mount=type=bind,from=wheel,source=/dist,target=/dist \
    python3 -m pip install --no-cache-dir --no-index --break-system-packages /dist/*.whl

# What vLLM would otherwise work out at each first start of a container; a few hundred kilobytes. The base's bytecode,
# which the step would leave behind as well, would be 124 MB.
RUN PYTHONDONTWRITEBYTECODE=1 python3 -m worker_vllm.engine.child.model_info_writer

# A linter takes TOKENIZER for a token: DL3064 is silenced where it does.
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

# Another hub to fetch from, for this build alone: --build-arg HF_ENDPOINT=https://your-mirror. Without a default, as an
# empty address is none.
ARG HF_ENDPOINT

# The token is there for this step alone, as a file in memory; no layer, no variable and no log line has it.
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

# The worker handles SIGTERM itself (drain, then stop the engine), and as first process reaps whatever is left behind.
# A stop that comes while Python itself starts waits, blocked, until the worker can obey it.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10m --retries=3 CMD ["worker-vllm", "health"]
ENTRYPOINT ["env", "--block-signal=TERM", "--block-signal=INT", "worker-vllm", "start"]
