"""Rows of a recipe: read from files and the hub, checked, converted to TRL's columns, tokenised."""
