"""From a recipe file to a typed plan. Imports no torch."""
