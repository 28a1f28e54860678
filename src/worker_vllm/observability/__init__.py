"""Logging, metrics, redaction."""
