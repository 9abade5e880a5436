"""What is asked of the hub, or of its local caches, before a run. Knows no recipe."""
