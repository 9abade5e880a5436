"""Training of one stage: TRL's trainer, checkpoints, callbacks."""
