def near(completions, anser, **columns):
    return [0.0 for _ in completions]
