"""Completions of an online method by a plain `vllm serve`, which is given the policy as an adapter."""
