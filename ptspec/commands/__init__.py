"""One function per command: parse options, make one call, print text.

Only this package and cli import Typer.
"""
