"""Nash learning from human feedback by mirror descent (Munos et al. 2023, arXiv 2312.00886).

`config` holds the fields of a stage, `trainer` the algorithm with its equations, `opponents` the opponents,
`sampler` the decoding loop over a geometric mixture of two models, `reference` and `ema` the weights of those
models. Judges and rewards are in `ptspec.rewards.judges`.
"""
