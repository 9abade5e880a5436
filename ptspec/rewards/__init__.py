"""What a completion is worth: built-in functions, the user's functions, reward models, judges."""
