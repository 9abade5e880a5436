"""A client of `vllm serve` or a compatible server."""
