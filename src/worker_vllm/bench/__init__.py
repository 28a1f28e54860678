"""Load against any OpenAI-compatible server or RunPod endpoint, targets in alternation, and the report on it."""
