"""The catalogue of settings, as data."""
