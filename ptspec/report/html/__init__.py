"""The HTML report of a run or a comparison: one self-contained file, made from folders."""
