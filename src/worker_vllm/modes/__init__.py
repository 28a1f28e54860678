"""How a worker process is put together, one module for each mode."""
