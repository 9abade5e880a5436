"""What makes a stage faster on a device: chosen where it changes nothing but rounding, else only proposed.

One file a choice, in `free/` and in `dear/`; `decide` asks them in their order. Imports no torch, so that
`pt plan` can show what a run would choose.
"""
