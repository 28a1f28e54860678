"""A discrete-event simulation of an endpoint: arrivals, scaling, cold starts, admission, engines. Pure."""
