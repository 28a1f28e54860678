"""A local stand-in for the model hub, and tiny repositories to put into it."""
