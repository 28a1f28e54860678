"""Rendering of generated documentation and forms."""
