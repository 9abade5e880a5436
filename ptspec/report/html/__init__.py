"""The HTML report of a run and of a comparison: one file each, read from folders, opened without network."""
