"""Completions of an online method by a plain `vllm serve`, which gets the policy as an adapter."""
