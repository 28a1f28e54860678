"""Jobs, workers and endpoints of the gateway as pure state that returns effects."""
