"""The push command: upload a finished run's stage to the hub with a model card."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptspec.commands.options import AllowCode, WeightType, quiet_libraries, say, show
from ptspec.diagnostics import Diagnostic, InputError

if TYPE_CHECKING:
    from ptspec.evaluation.targets import Target
    from ptspec.report.card import Card


def push(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run, or one of its stages.")],
    repository: Annotated[str, typer.Argument(metavar="REPO", help="owner/name on the hub.")],
    stage: Annotated[
        str | None, typer.Option(metavar="STAGE", help="Which stage; else the run's last.")
    ] = None,
    merged: Annotated[
        bool, typer.Option("--merged", help="Whole weights, the adapter folded in; else as it is.")
    ] = False,
    dtype: Annotated[
        WeightType | None, typer.Option(help="Of the merged weights; else that of the base.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(metavar="NAME", help="The hub id of the base, where the recipe has a path.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(metavar="BRANCH", help="A branch; else the main one.")
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="A new repository is public; else private.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the model card, push nothing.")] = False,
    allow_code: AllowCode = False,
) -> None:
    """Push a stage to the hub.

    Its adapter or weights, the tokenizer, and a model card that is made of the run. Nothing is pushed unless
    this is asked for.
    """
    from ptspec.report.card import model_card
    from ptspec.secrets import redacted

    if dtype is not None and not merged:
        raise InputError(Diagnostic("wrong-usage", "--dtype goes with --merged"))
    target = _target(run, stage)
    card = _card(target, repository, merged, base)
    if dry_run:
        show(model_card(card))
        return
    with quiet_libraries(), tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "pushed"
        _fill(folder, target, card, merged, dtype.value if dtype else None, allow_code)
        (folder / "README.md").write_text(redacted(model_card(card)), encoding="utf-8")
        told = _pushed(folder, card, revision, public)
    say(told)


def _target(run: str, stage: str | None) -> Target:
    from ptspec.evaluation.targets import last_of_each

    (target,) = last_of_each([str(Path(run) / stage) if stage is not None else run])
    if target.artifact is None or target.run is None:
        hint = "give a run (outputs/NAME) or one of its stages"
        raise InputError(Diagnostic("not-a-run", f"{run} is not a stage of a run", hint=hint))
    return target


def _card(target: Target, repository: str, merged: bool, base: str | None) -> Card:
    from ptspec.data.readers.placed import shown
    from ptspec.recipe.paths import is_hub_id
    from ptspec.report.card import Card
    from ptspec.report.html.folder import read_run
    from ptspec.store.manifest import hub_datasets, open_manifest

    assert target.artifact is not None and target.run is not None
    if not is_hub_id(repository):
        message = f'"{repository}" is not a repository: it must be owner/name'
        raise InputError(Diagnostic("wrong-usage", message))
    manifest = open_manifest(target.run)
    is_adapter = target.artifact.is_adapter and not merged
    below = base or (target.artifact.weights if is_adapter else manifest.model)
    if is_adapter and not is_hub_id(below):
        message = f"the adapter was trained over {shown(Path(below))}, which only this machine has"
        hint = "--base OWNER/NAME says what it is on the hub; --merged pushes whole weights"
        raise InputError(Diagnostic("local-base", message, hint=hint))
    return Card(
        read_run(target.run),
        target.name,
        below if is_hub_id(below) else shown(Path(below)),
        repository,
        is_adapter,
        hub_datasets(target.run),
    )


def _fill(
    folder: Path, target: Target, card: Card, merged: bool, dtype: str | None, allow_code: bool
) -> None:
    """Write the files to push to `folder`."""
    from ptspec.model.export_files import export_adapter, export_whole

    assert target.artifact is not None
    if card.is_adapter:
        export_adapter(target.artifact, folder, card.base)
    elif merged and target.artifact.is_adapter:
        from ptspec.checks.code_permission import model_spec
        from ptspec.model.export import export_model

        spec = model_spec(target.artifact.weights, target.recipe, allow_code=allow_code)
        export_model(target.artifact, folder, dtype, spec)
    else:
        export_whole(target.artifact, folder)


def _pushed(folder: Path, card: Card, revision: str | None, public: bool) -> str:
    from ptspec.hub.push import push as pushed
    from ptspec.recipe.hints import bytes_in_words
    from ptspec.store.files import folder_size

    size = bytes_in_words(folder_size(folder))
    message = f"{card.stage} of {card.run_record.name}, by ptspec"
    done = pushed(folder, card.repository, message=message, private=not public, revision=revision)
    made = f" (new, {'public' if public else 'private'})" if done.is_new else ""
    return f"{card.stage} pushed to {card.repository}{made}, {size}: {done.url}"
