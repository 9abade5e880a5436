"""Tokens a second of a stage: ptspec as it chooses, ptspec with `"performance": "off"`, and TRL."""
