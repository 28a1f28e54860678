"""Rules across settings: deployment, validation, tensor parallel size, misplaced names."""
