"""Checks and choices that are made before the engine is spawned."""
