"""Choices that change what is learned: proposed, never taken."""
