"""Intervals and tests that hold at the sizes of a held-out set. NumPy only; knows no model and no metric."""
