"""Launchers: run a stage's job in this process, in another one, in several, or on a cluster."""
