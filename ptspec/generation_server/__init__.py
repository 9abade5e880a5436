"""A server that generates for us: `vllm serve`, or what speaks as it does."""
