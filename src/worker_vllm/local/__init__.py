"""`worker-vllm local`: the gateway in this process, workers and their engines as child processes."""
