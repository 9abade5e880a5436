"""The commands that need no run: init, methods, schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ptspec.commands.options import say
from ptspec.diagnostics import Diagnostic, InputError


def init(
    method: Annotated[
        str | None,
        typer.Option(metavar="METHOD", help="dpo, or sft_dpo for both; else what the data is for."),
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="PATH", help="A model's folder or hub id.")] = None,
    data: Annotated[Path | None, typer.Option(metavar="FILE", help="Rows to train on.")] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Where the recipe goes.")
    ] = Path("recipe.json"),
) -> None:
    """Write a recipe to start from.

    Without options it is over the model and the data that ship with pt.
    """
    from ptspec.recipe.hints import did_you_mean, listed
    from ptspec.starter.recipe import CHAINS, starter, write

    if method is not None and method not in CHAINS:
        hint = did_you_mean(method, CHAINS) or f"methods: {listed(CHAINS, len(CHAINS))}"
        raise InputError(Diagnostic("unknown-method", f'there is no method "{method}"', hint=hint))
    made = starter(method, model, data)
    write(made, output)
    chain = " → ".join(stage["name"] for stage in made["stages"])
    say(f"{output}: written ({chain} on {made['data']['train']['path']}). Next: pt validate {output}")


def methods(
    method: Annotated[str | None, typer.Argument(metavar="METHOD", help="Tell all of this one.")] = None,
) -> None:
    """Say what each method is, needs and costs."""
    from shutil import get_terminal_size

    from ptspec.methods import METHODS, get
    from ptspec.methods.merge import NAME as MERGE
    from ptspec.recipe.hints import did_you_mean, listed
    from ptspec.report.methods import merge_screen, screen, table

    known = (*METHODS, MERGE)
    if method is not None and method not in known:
        hint = did_you_mean(method, known) or f"methods: {listed(known)}"
        raise InputError(Diagnostic("unknown-method", f'there is no method "{method}"', hint=hint))
    width = min(get_terminal_size((120, 24)).columns, 120)
    if method == MERGE:
        print(merge_screen(width), end="")
    else:
        print(table(width) if method is None else screen(get(method), width), end="")


def schema(
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Copy the schema files here instead.")
    ] = None,
) -> None:
    """Print the JSON Schema of a recipe.

    In one piece, for editors and other programs.
    """
    import json

    from ptspec.shipped import bundle, copy

    if output is None:
        print(json.dumps(bundle(), ensure_ascii=False))
        return
    copy("schemas", output)
    say(f'{output}: written. In a recipe: "$schema": "{(output / "recipe.schema.json").as_posix()}"')
