"""Checks of a recipe's rows before anything starts."""
