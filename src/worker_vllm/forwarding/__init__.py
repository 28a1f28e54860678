"""What every reverse proxy needs: the headers to pass on, and the request's body as a stream. Knows ASGI alone."""
