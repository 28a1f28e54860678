"""The engine as the worker manages it: start, watch, relaunch, stop."""
