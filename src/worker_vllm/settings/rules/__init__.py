"""What values mean together: deployment, validation, sizes, misplaced names."""
