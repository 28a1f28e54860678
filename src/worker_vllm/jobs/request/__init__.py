"""A job as it arrives: parsed, validated and turned into requests to the engine."""
