"""Jobs and results in a file, so that they outlive the gateway's process."""
