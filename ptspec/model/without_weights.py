"""Properties of a policy that need no weights: tokenizer, end tokens, context length."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig, GenerationConfig

from ptspec.model.base import load_tokenizer
from ptspec.model.hub import must_be_loadable
from ptspec.model.model_cache import TOKENIZER_CONFIG, stop_as_in
from ptspec.model.stop_tokens import end_ids, stop_at_answer_end
from ptspec.recipe.plan import ModelSpec
from ptspec.store.stage_folder import Artifact


@dataclass(frozen=True)
class Outside:
    """`ends`: the ids that end an answer; `context`: in tokens, None if the config has none."""

    tokenizer: Any
    ends: frozenset[int]
    context: int | None


def outside_of(spec: ModelSpec, artifact: Artifact | None) -> Outside:
    """Return for the policy in `artifact` (None: the base) what `Bases.open` would give it.

    Raises `InputError` if there is no such model.
    """
    weights = spec.path if artifact is None or artifact.weights == spec.path else artifact.weights
    must_be_loadable(weights, spec.revision, spec.at)
    options = {"revision": spec.revision, "trust_remote_code": spec.trust_remote_code}
    config = AutoConfig.from_pretrained(weights, **options)
    tokenizer = load_tokenizer(spec, None if weights == spec.path else weights)
    generation = _generation(weights, spec.revision, config)
    if spec.eos_token is not None:
        generation.eos_token_id = list(dict.fromkeys([tokenizer.eos_token_id, *end_ids(generation)]))
    stop_at_answer_end(generation, tokenizer)
    if artifact is not None and artifact.is_adapter:
        stop_as_in(artifact.folder, generation)
        if (artifact.folder / TOKENIZER_CONFIG).is_file():
            tokenizer = load_tokenizer(spec, str(artifact.folder))
            stop_at_answer_end(generation, tokenizer)
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    ends = {*end_ids(generation), tokenizer.eos_token_id} - {None}
    return Outside(tokenizer, frozenset(ends), limit if isinstance(limit, int) else None)


def _generation(weights: str, revision: str | None, config: Any) -> GenerationConfig:
    if Path(weights).is_dir() and not (Path(weights) / "generation_config.json").is_file():
        return GenerationConfig.from_model_config(config)
    try:
        return GenerationConfig.from_pretrained(weights, revision=revision)
    except OSError:
        return GenerationConfig.from_model_config(config)
