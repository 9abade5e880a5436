"""A built-in reward as its tests ask it: one completion, one right answer."""

from ptspec.rewards.builtin import builtin


def score_of(name):
    """`score(text, gold, **options)`: what the built-in reward `name` pays for a completion."""

    def score(text, gold, **options):
        (value,) = builtin(name, options)(prompts=["q"], completions=[text], answer=[gold])
        return value

    return score
