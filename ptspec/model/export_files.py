"""Export files of a stage unchanged, without computation or heavy imports."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.recipe.headers import NoShape, read_header
from ptspec.store.content_hashes import deciding_files
from ptspec.store.files import UMASK, folder_size, read_json, write_json
from ptspec.store.stage_folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Artifact, publish

ADAPTER_FILES = (
    *(ADAPTER_WEIGHTS, ADAPTER_CONFIG, "generation_config.json", "chat_template.jinja"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.model"),
    *("vocab.json", "merges.txt", "added_tokens.json"),
)


def export_adapter(artifact: Artifact, folder: Path, base: str | None = None) -> int:
    """Copy the adapter of `artifact`, with its tokenizer, to `folder` and return the bytes written.

    `base` replaces the base model's name. Raises `InputError` if there is no adapter, its weights are
    damaged, or `folder` is in use.
    """
    if not artifact.is_adapter:
        message = f"{artifact.folder} holds whole weights, no adapter"
        raise InputError(Diagnostic("no-adapter", message, hint="leave --adapter-only out"))
    try:
        read_header(artifact.folder / ADAPTER_WEIGHTS)
    except NoShape as error:
        where = Location(str(artifact.folder))
        raise InputError(Diagnostic("cannot-load-adapter", f"its weights: {error}", where)) from None
    with appearing(folder) as made:
        for name in ADAPTER_FILES:
            if (artifact.folder / name).is_file():
                shutil.copy(artifact.folder / name, made / name)
        config = read_json(made / ADAPTER_CONFIG)
        write_json(made / ADAPTER_CONFIG, {**config, "base_model_name_or_path": base or artifact.weights})
    return folder_size(folder)


def export_whole(artifact: Artifact, folder: Path) -> int:
    """Copy the full weights of `artifact`, with config and tokenizer, to `folder`.

    Returns the bytes written. Raises `InputError` if `folder` is in use.
    """
    with appearing(folder) as made:
        for file in deciding_files(artifact.folder):
            target = made / file.relative_to(artifact.folder)
            target.parent.mkdir(exist_ok=True)
            shutil.copy(file, target)
        for file in artifact.folder.glob("*.safetensors.index.json"):
            shutil.copy(file, made / file.name)
    return folder_size(folder)


def must_be_free(folder: Path) -> None:
    """Raises `InputError` where something stands in `folder`, or nothing can be made there."""
    try:
        free = not folder.is_symlink() and (not folder.exists() or _is_empty(folder))
    except (OSError, ValueError) as error:
        raise InputError(_not_writable(folder, error)) from None
    if not free:
        hint = "give a new folder, or an empty one"
        raise InputError(Diagnostic("folder-in-use", "is there already", Location(str(folder)), hint=hint))


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _not_writable(folder: Path, error: Exception) -> Diagnostic:
    message = f"cannot be written: {getattr(error, 'strerror', None) or error}"
    return Diagnostic("not-writable", message, Location(str(folder)))


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`, which gets its name if the block ends well, and goes if it does not.

    Raises `InputError` where it is in use or cannot be made.
    """
    must_be_free(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except (OSError, ValueError) as error:
        raise InputError(_not_writable(folder, error)) from None
    try:
        yield made
        made.chmod(0o777 & ~UMASK)
        publish(made, folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
