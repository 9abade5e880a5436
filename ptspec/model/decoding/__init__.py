"""Decoding of many rows: those that have ended leave the batch, and equal prompts are read once."""
