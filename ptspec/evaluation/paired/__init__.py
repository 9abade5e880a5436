"""Compare models on the same prompts, paired by row: differences, intervals, tests, verdicts."""
