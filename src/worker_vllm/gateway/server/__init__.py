"""The gateway's HTTP server."""
