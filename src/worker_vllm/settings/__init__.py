"""Environment variables to frozen Settings: catalogue, sources, rules, old names. Standard library only."""
