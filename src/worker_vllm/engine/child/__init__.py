"""What runs inside the engine's own process; only here may vLLM be imported."""
