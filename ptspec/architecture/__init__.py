"""What transformers and PEFT make of a checkpoint, read from their installed source files.

Torch-free: the libraries are parsed, never imported. Contract tests compare the outcome with the libraries'.
"""
