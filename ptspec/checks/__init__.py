"""What is looked at before a run starts. Imports no torch."""
