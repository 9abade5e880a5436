"""Choices that change only rounding."""
