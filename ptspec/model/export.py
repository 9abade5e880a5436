"""Export a policy: its adapter merged into the weights, or the adapter alone.

Merged in float32 and rounded once to the target dtype. The written folder is loaded again and compared with
the adapter over its base before it gets its name.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, GenerationConfig

from ptspec.diagnostics import Diagnostic, InputError, Location, StageError
from ptspec.model import probes
from ptspec.model.adapters import attach
from ptspec.model.base import DTYPES, load_base
from ptspec.model.classifier import is_reward_model
from ptspec.model.device import Device
from ptspec.model.probes import Probes
from ptspec.model.stop_tokens import stop_at_answer_end
from ptspec.recipe.headers import NoShape, read_header
from ptspec.recipe.plan import AdapterSpec, ModelSpec
from ptspec.store.content_hashes import deciding_files
from ptspec.store.files import UMASK, folder_size, read_json, write_json
from ptspec.store.stage_folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Artifact, publish

ADAPTER_FILES = (
    *(ADAPTER_WEIGHTS, ADAPTER_CONFIG, "generation_config.json", "chat_template.jinja"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.model"),
    *("vocab.json", "merges.txt", "added_tokens.json"),
)
TEXTS = ("The quick brown fox jumps over the lazy dog.", "What is the capital of France? It is Paris.")
"""Texts to compare on if a stage saved no probes."""
CPU = Device("cpu", "cpu")


@dataclass(frozen=True)
class Exported:
    """An exported model.

    `distance`: mean |difference| of token log-probabilities, in nats, between what was written and the policy
    over its float32 base; `from_training`: to the policy as trained, if known (over 4-bit weights it differs
    by the quantisation error).
    """

    folder: Path
    dtype: str
    bytes: int
    distance: float
    from_training: float | None


def export_adapter(artifact: Artifact, folder: Path, base: str | None = None) -> int:
    """Copy the adapter of `artifact`, with its tokenizer, to `folder` and return the bytes written.

    `base` replaces the base model's name. Raises `InputError` if `folder` is in use or there is no adapter.
    """
    if not artifact.is_adapter:
        message = f"{artifact.folder} holds whole weights, no adapter"
        raise InputError(Diagnostic("no-adapter", message, hint="leave --adapter-only out"))
    try:
        read_header(artifact.folder / ADAPTER_WEIGHTS)
    except NoShape as error:
        where = Location(str(artifact.folder))
        raise InputError(Diagnostic("cannot-load-adapter", f"its weights: {error}", where)) from None
    with _appearing(folder) as made:
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
    with _appearing(folder) as made:
        for file in deciding_files(artifact.folder):
            target = made / file.relative_to(artifact.folder)
            target.parent.mkdir(exist_ok=True)
            shutil.copy(file, target)
        for file in artifact.folder.glob("*.safetensors.index.json"):
            shutil.copy(file, made / file.name)
    return folder_size(folder)


def export_model(
    artifact: Artifact, folder: Path, dtype: str | None = None, spec: ModelSpec | None = None
) -> Exported:
    """Write the policy of `artifact` to `folder` as full weights in `dtype` (None: that of its base).

    Tokenizer, chat template and generation config are included. `spec` says how its base is loaded. Raises
    `InputError` for what cannot be exported, `StageError` if what was written computes differently.
    """
    _must_be_policy(artifact)
    _must_be_free(folder)
    spec = replace(spec or ModelSpec(artifact.weights, True), dtype="float32")
    base = load_base(spec, AdapterSpec(True), CPU)
    code = {"trust_remote_code": spec.trust_remote_code}
    tokenizer = _tokenizer(artifact, base.tokenizer, **code)
    model = base.model if not artifact.is_adapter else attach(base.model, artifact.folder, trainable=False)
    left = probes.load(artifact.folder)
    ids = left.ids if left else tuple(tuple(tokenizer(text)["input_ids"]) for text in TEXTS)
    policy = probes.measure(model, ids)
    merged = model.merge_and_unload() if artifact.is_adapter else model
    chosen = dtype or _stored_dtype(artifact, **code)
    with _appearing(folder) as made:
        merged.generation_config = _generation(artifact, merged)
        stop_at_answer_end(merged.generation_config, tokenizer)
        merged.to(DTYPES[chosen]).save_pretrained(str(made))
        tokenizer.save_pretrained(str(made))
        distance = _verified(made, policy, **code)
    trained = policy.distance(left) if left else None
    return Exported(folder, chosen, folder_size(folder), distance, trained)


def _verified(folder: Path, policy: Probes, **code: bool) -> float:
    """Return the distance of `folder` to `policy`. Raises `StageError` if it is too large."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", use_safetensors=True, **code)
    written = probes.measure(model, policy.ids)
    distance, bound = written.distance(policy), written.bound(policy)
    if not distance <= bound:
        message = (
            f"the merged weights are not the policy: log-probabilities differ by {distance:.3g} nats a "
            f"token, {bound:g} is what rounding explains; nothing was written"
        )
        raise StageError(Diagnostic("export-differs", message, hint="try --dtype float32"))
    return distance


def _tokenizer(artifact: Artifact, base: Any, **code: bool) -> Any:
    from transformers import AutoTokenizer

    has_own = (artifact.folder / "tokenizer_config.json").is_file()
    return AutoTokenizer.from_pretrained(artifact.folder, **code) if has_own else base


def _generation(artifact: Artifact, model: Any) -> GenerationConfig:
    has_own = (artifact.folder / "generation_config.json").is_file()
    return GenerationConfig.from_pretrained(artifact.folder) if has_own else model.generation_config


def _stored_dtype(artifact: Artifact, **code: bool) -> str:
    """Return the dtype in the base's config."""
    from transformers import AutoConfig

    named = getattr(AutoConfig.from_pretrained(artifact.weights, **code), "dtype", None)
    return next((name for name, dtype in DTYPES.items() if dtype == named), "float32")


def _must_be_policy(artifact: Artifact) -> None:
    if is_reward_model(artifact.folder):
        message = f"{artifact.folder} holds a reward model, not a policy"
        hint = "it loads as it is; --adapter-only copies its adapter"
        raise InputError(Diagnostic("not-a-policy", message, hint=hint))


def _must_be_free(folder: Path) -> None:
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
def _appearing(folder: Path) -> Iterator[Path]:
    """Create a temporary folder beside `folder`; rename it on success, remove it on failure."""
    _must_be_free(folder)
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
