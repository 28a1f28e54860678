"""Everything on one machine: the gateway in this process, workers with their engines as children of it."""
