"""`pt init`: a recipe for a file of rows, or from configs of other programs."""
