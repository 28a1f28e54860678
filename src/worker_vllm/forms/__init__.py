"""The console's form, worker-config.json: how it is made and how anybody's is checked."""
