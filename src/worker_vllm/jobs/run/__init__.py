"""A job on the engine: the requests that are sent and the responses that are read."""
