"""One function a command: its options in, one call, its text out. Typer is imported here and in cli alone."""
