"""Intervals and tests for samples the size of a held-out set. NumPy only."""
