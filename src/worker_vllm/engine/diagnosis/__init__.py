"""Diagnoses why an engine exited: patterns of its log and exit status, each with a scope and a sentence."""
