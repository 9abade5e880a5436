"""The explanation of each error code, for `pt explain` and the user guide."""
