"""The engine's HTTP client."""
