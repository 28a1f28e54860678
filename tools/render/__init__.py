"""Rendering of the generated documentation and forms."""
