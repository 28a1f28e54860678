"""Model files: locate them on disk, download them from the hub, bake them into an image.

`locate` and what it imports use the standard library alone, because the start calls it before the engine is spawned.
huggingface_hub is imported by `hub_client` alone, inside the functions that contact the hub.
"""
