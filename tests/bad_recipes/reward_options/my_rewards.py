def brevity(prompts, completions, **columns):
    return [-len(text) for text in completions]
