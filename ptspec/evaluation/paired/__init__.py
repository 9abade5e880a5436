"""Two or more models on the same prompts, paired row by row: differences, intervals, tests, verdicts."""
