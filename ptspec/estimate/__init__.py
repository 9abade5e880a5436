"""Arithmetic on a plan: rows, adapters, steps, memory, disk. Reads data and shapes; loads no model."""
