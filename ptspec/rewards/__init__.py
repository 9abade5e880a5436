"""Scores of completions: built-in functions, the user's functions, reward models, judges."""
