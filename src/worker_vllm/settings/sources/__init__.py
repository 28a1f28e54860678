"""Where values come from: the environment, extra arguments, a config file, the model that is served."""
