"""RunPod's queue: take, stop, stream, done, ping."""
