"""Models and adapters: loading, hand-over between stages, saving, merging, decoding."""
