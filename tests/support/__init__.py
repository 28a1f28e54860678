"""What tests share: engines on sockets, gateway and worker processes, small HTTP clients."""
