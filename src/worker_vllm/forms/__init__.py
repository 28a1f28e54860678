"""The console's form, worker-config.json: how it is generated, and how any such form is validated."""
