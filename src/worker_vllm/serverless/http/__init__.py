"""HTTP/1.1 to the platform: connections, responses, redirects."""
