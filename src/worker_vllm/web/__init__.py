"""What http mode serves: health, the answer while no engine serves, the guard inside the engine's server."""
