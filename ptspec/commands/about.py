"""The commands that need no run: init, methods, schema."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptspec.commands.options import say
from ptspec.diagnostics import Diagnostic, InputError

if TYPE_CHECKING:
    from ptspec.starter.recipe import Starting

Column = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="The name of this column in the file.", show_default=False),
]


def init(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Rows to train on: a file or a folder.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(metavar="METHOD", help="dpo, or sft_dpo for both; else what the data is for."),
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="PATH", help="A model's folder or hub id.")] = None,
    data: Annotated[Path | None, typer.Option(metavar="FILE", help="The same as FILE.")] = None,
    prompt: Column = None,
    completion: Column = None,
    chosen: Column = None,
    rejected: Column = None,
    label: Column = None,
    configs: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="A config of TRL, alignment-handbook, axolotl or LLaMA-Factory; again for a second stage.",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Where the recipe goes.")
    ] = Path("recipe.json"),
) -> None:
    """Write a recipe to start from.

    Over the rows of FILE, or without it over the model and the data that ship with pt; with --from, what a
    config of another program says.
    """
    from ptspec.recipe.hints import did_you_mean, listed
    from ptspec.starter.recipe import CHAINS, starter, write

    if method is not None and method not in CHAINS:
        hint = did_you_mean(method, CHAINS) or f"methods: {listed(CHAINS, len(CHAINS))}"
        raise InputError(Diagnostic("unknown-method", f'there is no method "{method}"', hint=hint))
    if file is not None and data is not None:
        raise InputError(Diagnostic("wrong-usage", "FILE and --data are the same: name one"))
    named = {
        "prompt": prompt,
        "completion": completion,
        "chosen": chosen,
        "rejected": rejected,
        "label": label,
    }
    if configs:
        given = [file, data, model, *named.values()]
        _convert(configs, method, output, alone=all(one is None for one in given))
        return
    rows, columns = file or data, {wanted: name for wanted, name in named.items() if name is not None}
    if columns and rows is None:
        raise InputError(Diagnostic("wrong-usage", f"--{next(iter(columns))} names a column of a FILE"))
    started = starter(method, model, rows, columns)
    write(started.recipe, output)
    _tell_started(started, output)


def _convert(configs: list[Path], chain: str | None, output: Path, *, alone: bool) -> None:
    """Return the recipe converted from configs of another program."""
    from ptspec.report.converted import as_lines
    from ptspec.starter.from_configs.convert import converted
    from ptspec.starter.recipe import chained, write

    asked = [one.name for one in chained(chain)] if chain is not None else []
    if not alone:
        message = "--from takes model, data and columns from the configs: name no other"
        raise InputError(Diagnostic("wrong-usage", message, hint="change the recipe that it writes"))
    if asked and len(asked) != len(configs):
        message = f"--method names {len(asked)} stages, and --from is there {len(configs)} times"
        raise InputError(Diagnostic("wrong-usage", message, hint="a method for each file, in their order"))
    made = converted(configs, asked, output)
    write(made.recipe, output)
    say(f"{output}: written ({' → '.join(stage['name'] for stage in made.recipe['stages'])})")
    for line in as_lines(made.drafts):
        say(line)
    _tell_next(output)


def _tell_next(output: Path) -> None:
    recipe_file = shlex.quote(str(output))
    say(f"next     pt validate {recipe_file}\n         pt run {recipe_file}")


def _tell_started(started: Starting, output: Path) -> None:
    """Print the recipe's less obvious choices, and the next commands."""
    recipe = started.recipe
    chain = " → ".join(stage["name"] for stage in recipe["stages"])
    say(f"{output}: written ({chain} on {recipe['data']['train']['path']})")
    if columns := started.columns:
        say(f"columns  {', '.join(f'{new} is {old}' for new, old in columns.items())}")
    say(f"held out {started.held_out}")
    if started.is_toy:
        say(
            "model    the toy that ships with ptspec: 1 M parameters, it knows one invented village and shows"
        )
        say("         that everything works. For real answers: --model, with a folder or a hub id")
    _tell_next(output)


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
