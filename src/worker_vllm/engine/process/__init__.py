"""The engine as a process: its command line, its guard, its directory, its log."""
