"""Where values come from: environment, config file, extra arguments, and the served model."""
