"""The client side of RunPod's job protocol: take jobs, receive cancellations, post streams and results, ping."""
