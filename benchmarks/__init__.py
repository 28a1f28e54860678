"""Benchmarks: ratios measured in one run, printed as a table and written as JSON; never part of a test."""
