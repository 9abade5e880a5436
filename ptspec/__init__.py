"""ptspec: post-training pipelines (SFT, DPO, KTO, GRPO, RLOO, distillation, …) from one JSON recipe."""

__version__ = "0.1.0"
