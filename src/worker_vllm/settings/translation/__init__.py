"""Settings in the three forms that users have: our variables, the original worker's, and a `vllm serve` command."""
