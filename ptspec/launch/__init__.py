"""From a stage's job to its folder: in this process, or in one of its own."""
