"""The console's form, worker-config.json: generation of ours, validation of any."""
