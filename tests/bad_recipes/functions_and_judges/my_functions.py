raise RuntimeError("checking a recipe runs nothing")


def brevity(prompt, completion):
    return [1.0]


def shorter(prompts, a, b, c):
    return [0.5]
