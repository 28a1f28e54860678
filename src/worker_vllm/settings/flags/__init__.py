"""vLLM's flags, as data for each version."""
