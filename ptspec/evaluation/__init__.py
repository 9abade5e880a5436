"""Measuring one model, comparing several, and the plots of both."""
