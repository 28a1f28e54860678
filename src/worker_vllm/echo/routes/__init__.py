"""The echo engine's routes, one module for each response format."""
