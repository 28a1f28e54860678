"""The worker core: what happens between a parsed job and its outputs. It knows the engine only by its seam."""
