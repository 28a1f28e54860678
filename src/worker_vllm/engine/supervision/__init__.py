"""The engine's life as seen by the worker: start, watch, relaunch, stop."""
