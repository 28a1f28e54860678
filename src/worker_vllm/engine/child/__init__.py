"""Code that runs inside the engine's own process; the only package that may import vLLM."""
