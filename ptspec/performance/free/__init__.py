"""Choices that change nothing but rounding."""
