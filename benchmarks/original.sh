#!/usr/bin/env bash
# The rival of the benchmarks: the original worker at a fixed version, in an environment of its own. Nothing of it is
# part of this repository.
#
#     benchmarks/original.sh DIRECTORY [GIT_ADDRESS]
#
# Then: python -m benchmarks fan_out --original DIRECTORY
set -euo pipefail

directory=${1:?usage: benchmarks/original.sh DIRECTORY [GIT_ADDRESS]}
address=${2:-https://github.com/runpod-workers/worker-vllm}
version=v2.25.2
# What builder/requirements.txt of that version asks for, at fixed versions.
packages=(runpod==1.12.0 aiohttp==3.14.5 huggingface-hub==2.4.0)

[ -d "$directory/.git" ] || git -c advice.detachedHead=false clone --quiet --depth 1 --branch "$version" "$address" "$directory"
git -C "$directory" describe --tags --exact-match --match "$version" >/dev/null
[ -x "$directory/.venv/bin/python" ] || "$(dirname "$0")/../.venv/bin/python" -m venv "$directory/.venv"
"$directory/.venv/bin/python" -m pip install --quiet --disable-pip-version-check "${packages[@]}"
echo "the original worker $version is in $directory"
