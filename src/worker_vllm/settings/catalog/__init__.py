"""The catalogue: every variable that the worker knows by name, as data."""
