"""Export a policy with its adapter merged into the weights; `export_files` copies the adapter alone.

Merged in float32 and rounded once to the target dtype. The written folder is loaded again and compared with
the adapter over its base before it gets its name.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, GenerationConfig

from ptspec.diagnostics import Diagnostic, InputError, StageError
from ptspec.model import probes
from ptspec.model.adapters import attach
from ptspec.model.base import DTYPES, load_base
from ptspec.model.classifier import is_reward_model
from ptspec.model.device import Device
from ptspec.model.export_files import appearing, must_be_free
from ptspec.model.probes import Probes
from ptspec.model.stop_tokens import stop_at_answer_end
from ptspec.recipe.plan import AdapterSpec, ModelSpec
from ptspec.store.files import folder_size
from ptspec.store.stage_folder import Artifact

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


def export_model(
    artifact: Artifact, folder: Path, dtype: str | None = None, spec: ModelSpec | None = None
) -> Exported:
    """Write the policy of `artifact` to `folder` as full weights in `dtype` (None: that of its base).

    Tokenizer, chat template and generation config are included. `spec` says how its base is loaded. Raises
    `InputError` for what cannot be exported, `StageError` if what was written computes differently.
    """
    _must_be_policy(artifact)
    must_be_free(folder)
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
    with appearing(folder) as made:
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
