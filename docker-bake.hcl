# docker buildx bake            the image for GPUs, tagged v<version>dev-cuda<version>
# CHANNEL=stable docker buildx bake --push
# docker buildx bake images    every combination of CUDA and vLLM that is published
# docker buildx bake gpu --set gpu.args.MODEL_NAME=org/name --set gpu.secrets=id=HF_TOKEN    with a model inside
#
# The versions are written by tools/bump and checked against src/worker_vllm/settings/versions.py by a test.

variable "WORKER_VERSION" {
  default = "3.0.0"
}

variable "VLLM_VERSION" {
  default = "0.32.0"
}

variable "CUDA_VERSION" {
  default = "13.0.3"
}

variable "REPOSITORY" {
  default = "runpod/worker-v1-vllm"
}

variable "CHANNEL" {
  default = "dev"
}

variable "VCS_REF" {
  default = ""
}

variable "SOURCE_URL" {
  default = ""
}

group "default" {
  targets = ["gpu"]
}

group "all" {
  targets = ["gpu", "cpu"]
}

target "gpu" {
  context    = "."
  dockerfile = "Dockerfile"
  platforms  = ["linux/amd64"]
  tags       = ["${REPOSITORY}:v${WORKER_VERSION}${CHANNEL}-cuda${CUDA_VERSION}"]
  args = {
    BASE_IMAGE          = "vllm/vllm-openai:v${VLLM_VERSION}"
    WORKER_CUDA_VERSION = "${CUDA_VERSION}"
    WORKER_VERSION      = "${WORKER_VERSION}"
    VCS_REF             = "${VCS_REF}"
    SOURCE_URL          = "${SOURCE_URL}"
  }
}

# vLLM publishes each release on its default CUDA and, with a suffix, on an older one for older drivers. The image on the
# shipped vLLM has the tag of the specification's table; on another vLLM the tag names it too.
target "images" {
  name     = "gpu-cuda${replace(cuda.version, ".", "-")}${replace(vllm.suffix, ".", "-")}"
  inherits = ["gpu"]
  matrix = {
    cuda = [
      { version = "${CUDA_VERSION}", base = "" },
      { version = "12.9.1", base = "-cu129" },
    ]
    vllm = [
      { version = "${VLLM_VERSION}", suffix = "" },
      { version = "0.31.0", suffix = "-vllm0.31.0" },
    ]
  }
  tags = ["${REPOSITORY}:v${WORKER_VERSION}${CHANNEL}-cuda${cuda.version}${vllm.suffix}"]
  args = {
    BASE_IMAGE          = "vllm/vllm-openai:v${vllm.version}${cuda.base}"
    WORKER_CUDA_VERSION = "${cuda.version}"
  }
}

target "cpu" {
  context    = "."
  dockerfile = "docker/cpu.Dockerfile"
  platforms  = ["linux/amd64"]
  tags       = ["${REPOSITORY}:v${WORKER_VERSION}${CHANNEL}-cpu"]
  args = {
    WORKER_VERSION = "${WORKER_VERSION}"
    SOURCE_URL     = "${SOURCE_URL}"
  }
}
