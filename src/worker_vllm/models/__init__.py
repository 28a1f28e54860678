"""Where the model's files are: find them on disk, fetch what only the hub has, put them into an image.

`find` and what it imports are standard library only, because the light start calls it before the engine exists;
huggingface_hub is imported by `download` and `bake` alone, when a file is really missing.
"""
