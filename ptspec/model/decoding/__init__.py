"""Batched decoding: finished rows leave the batch, and equal prompts are read once."""
