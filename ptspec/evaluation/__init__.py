"""Measure one model, compare several, and plot both."""
