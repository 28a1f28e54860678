"""vLLM's own flags, as data for each version."""
