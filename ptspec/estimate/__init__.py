"""Arithmetic on a plan: adapters, steps, memory, disk. Knows shapes and settings; loads nothing."""
