"""Readers of data files and hub datasets: each yields rows with their locations."""
