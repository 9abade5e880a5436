"""Settings that make a stage faster on a device: applied if they change only rounding, else proposed.

One file per choice, in `free/` and in `dear/`; `decide` calls them in order. Imports no torch, so that `pt
plan` can show what a run would choose.
"""
