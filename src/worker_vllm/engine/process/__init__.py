"""The engine's process: its command line, its guard, its launch directory, its log."""
