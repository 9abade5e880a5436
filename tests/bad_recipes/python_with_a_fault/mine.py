def reward(prompts, completions)
    return [0.0]
