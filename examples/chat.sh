#!/usr/bin/env bash
# A question and its answer, with curl.
set -euo pipefail
model=$(curl -sf "$OPENAI_BASE_URL/models" -H "Authorization: Bearer $OPENAI_API_KEY" | sed -E 's/.*"data": ?\[\{"id": ?"([^"]+)".*/\1/')
curl -sf "$OPENAI_BASE_URL/chat/completions" \
  -H "Authorization: Bearer $OPENAI_API_KEY" -H "Content-Type: application/json" \
  -d "{\"model\": \"$model\", \"messages\": [{\"role\": \"user\", \"content\": \"Hello from a shell\"}], \"max_tokens\": 100}"
echo
