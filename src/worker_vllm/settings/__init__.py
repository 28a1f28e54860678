"""Environment to frozen Settings: catalogue, translation of old names, rendered artefacts. Standard library only."""
