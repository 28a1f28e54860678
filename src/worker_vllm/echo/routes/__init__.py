"""The echo engine's answers, one module for each family of routes."""
