"""Queries of the hub and its local caches before a run. Independent of recipes."""
