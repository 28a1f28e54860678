"""Find a model (local, cached, volume, baked, hub) and bake it into an image."""
