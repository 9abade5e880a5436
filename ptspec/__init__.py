"""ptspec: post-training pipelines (SFT, DPO, ORPO, KTO, GRPO, Nash-MD) from one JSON recipe."""

__version__ = "0.1.0"
