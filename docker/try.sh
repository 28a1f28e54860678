#!/usr/bin/env bash
# Starts an image with the echo engine behind a local gateway, sends one request, and stops it as the platform does.
# Usage: docker/try.sh IMAGE
set -euo pipefail

image=${1:?usage: docker/try.sh IMAGE}
name=worker-vllm-try-$$
docker run --detach --name "$name" --publish 127.0.0.1::8000 "$image" local --engine echo --host 0.0.0.0 >/dev/null
trap 'docker logs "$name"; docker rm --force "$name" >/dev/null' EXIT

address=$(docker port "$name" 8000/tcp)
body='{"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}'
for _ in $(seq 60); do
  if curl --fail --silent --show-error --json "$body" "http://$address/v2/local/openai/v1/chat/completions"; then
    docker exec "$name" worker-vllm health
    docker stop --time 30 "$name" >/dev/null
    test "$(docker inspect --format '{{.State.ExitCode}}' "$name")" = 0
    exit
  fi
  sleep 1
done
echo "try: $image did not answer within 60 s" >&2
exit 1
