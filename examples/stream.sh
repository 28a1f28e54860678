#!/usr/bin/env bash
# The answer as it is generated, with curl: server-sent events.
set -euo pipefail
model=$(curl -sf "$OPENAI_BASE_URL/models" -H "Authorization: Bearer $OPENAI_API_KEY" | sed -E 's/.*"data": ?\[\{"id": ?"([^"]+)".*/\1/')
curl -sfN "$OPENAI_BASE_URL/chat/completions" \
  -H "Authorization: Bearer $OPENAI_API_KEY" -H "Content-Type: application/json" \
  -d "{\"model\": \"$model\", \"stream\": true, \"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}], \"max_tokens\": 100}"
