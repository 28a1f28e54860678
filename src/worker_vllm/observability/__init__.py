"""Logging, metrics, crash output."""
