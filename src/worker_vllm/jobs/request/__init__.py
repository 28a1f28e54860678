"""A raw job parsed, validated and turned into requests to the engine."""
