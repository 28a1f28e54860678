"""The engine: the child process, how it is talked to, supervised, diagnosed and stood in for."""
