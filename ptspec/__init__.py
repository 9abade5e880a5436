"""ptspec: post-training pipelines (SFT, DPO, KTO, GRPO, RLOO, Nash-MD, distillation, …) from one JSON recipe."""

__version__ = "0.1.0"
