"""The controller of a run: stage after stage, reuse, evaluation, checks."""
