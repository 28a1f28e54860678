"""The workers of an endpoint as a fleet: how many there should be (pure), and what can be done to each of them."""
