"""Hub models before they are loaded: their shape, and whether they can be loaded."""

from __future__ import annotations

from pathlib import Path

from ptspec.diagnostics import Diagnostic, InputError
from ptspec.hub.cache import has_weights, is_whole, snapshot
from ptspec.hub.connection import obstacle, reason, stay_offline
from ptspec.hub.model_files import fetch, headers
from ptspec.hub.repository import Repository
from ptspec.recipe.headers import NoShape, Tensor
from ptspec.recipe.paths import exists
from ptspec.recipe.plan import HubModel
from ptspec.recipe.shape import make_shape, read_config, read_shape

FILES, HEADERS = 4.5, 2.5
"""Time limits in seconds for a model's small files, and for the headers of its weights."""


def cached_model(path: str, revision: str | None) -> HubModel | None:
    """Return the model in the local cache; None if it is incomplete."""
    folder = snapshot(path, revision)
    if folder is None or not is_whole(folder):
        return None
    try:
        return HubModel(folder, read_shape(folder))
    except NoShape:
        return HubModel(folder)


def cached_config(path: str, revision: str | None) -> HubModel | None:
    """Return what the local cache has of a model without its weights; None without a config."""
    folder = snapshot(path, revision)
    return HubModel(folder) if folder is not None and (folder / "config.json").is_file() else None


def fetched_model(repository: Repository) -> tuple[HubModel, str | None]:
    """Fetch a model's small files and read its weight headers; return it with the error of the headers.

    Raises the error that prevented fetching the files.
    """
    folder = fetch(repository, FILES)
    try:
        if has_weights(folder):
            return HubModel(folder, read_shape(folder)), None
        config, tensors = read_config(folder), headers(repository, HEADERS)
    except Exception as error:  # network and server errors of various libraries
        return HubModel(folder), reason(error)
    if not tensors:
        return HubModel(folder), "no safetensors"
    return HubModel(folder, make_shape(config, {name: Tensor(*one) for name, one in tensors.items()})), None


def must_be_loadable(path: str, revision: str | None, at: str) -> None:
    """Raise `InputError` for a model that is neither local nor cached, if the hub cannot be reached.

    Libraries would find that out after more than a minute; if the model is cached they are kept from trying.
    """
    is_path = Path(path).is_absolute() or exists(Path(path)) or path.count("/") > 1
    why = None if is_path else obstacle()
    if why is None:
        return
    if cached_model(path, revision) is None:
        raise InputError(unreachable(path, why, at))
    stay_offline(why)


def unreachable(path: str, why: str, at: str, kind: str = "model") -> Diagnostic:
    """Return the error for a needed model or dataset that is not on this machine."""
    hint = "unset it" if why.startswith("offline") else "connect this machine"
    option = "" if kind == "model" else f" --repo-type {kind}"
    return Diagnostic(
        "hub-unreachable",
        f'the {kind} "{path}" is not in the local cache, and the hub is not asked ({why})',
        pointer=at,
        hint=f"{hint}, fetch it before (hf download {path}{option}), or name a folder",
    )
