"""Check teachers before they are loaded: that they are models, and share the policy's token ids.

TRL compares only the vocabulary sizes, after loading both models.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ptspec.data.readers.placed import shown
from ptspec.data.tokens.template import TokenizerFiles, read_tokenizer
from ptspec.diagnostics import Diagnostic
from ptspec.recipe.headers import NoShape
from ptspec.recipe.json_object import read_object
from ptspec.recipe.paths import is_folder
from ptspec.recipe.plan import BASE, Plan
from ptspec.recipe.shape import ModelShape, read_shape
from ptspec.recipe.signals import SecondModel
from ptspec.store.safetensors_only import conversion_command, pickled_weights


def check_teachers(
    plan: Plan, shape: ModelShape | None, tokenizer: TokenizerFiles | None
) -> Iterator[Diagnostic]:
    """Yield every error of the teachers of the plan's stages.

    `shape` and `tokenizer` are the policy's, None if unknown. Yields nothing for a hub teacher outside the
    cache.
    """
    own = {BASE, plan.model.path, *(stage.name for stage in plan.stages)}
    found = {stage.teacher: stage.name for stage in plan.stages if stage.teacher is not None}
    for teacher, stage in found.items():
        if teacher.path in own:
            continue
        folder = _folder(teacher)
        if folder is not None and _weights(folder) != plan.model.path:
            yield from _check(teacher, stage, folder, shape, tokenizer)


def _folder(teacher: SecondModel) -> Path | None:
    if is_folder(Path(teacher.path)):
        return Path(teacher.path)
    from ptspec.model.hub import cached_config

    cached = cached_config(teacher.path, teacher.revision)
    return cached.folder if cached is not None else None


def _weights(folder: Path) -> str:
    """Return the folder of the weights that the model or adapter in `folder` computes with."""
    from ptspec.store.stage_folder import ADAPTER_CONFIG, MODEL_CONFIG, adapter_weights

    if (folder / MODEL_CONFIG).is_file():
        return str(folder)
    return adapter_weights(folder, read_object(folder / ADAPTER_CONFIG))


def _check(
    teacher: SecondModel,
    stage: str,
    folder: Path,
    shape: ModelShape | None,
    tokenizer: TokenizerFiles | None,
) -> Iterator[Diagnostic]:
    weights = Path(_weights(folder))
    if not is_folder(weights):
        return
    if (pickle := pickled_weights(weights)) is not None:
        message = f"the teacher's weights are a pickle ({pickle.name}), which can run code when it is loaded"
        yield Diagnostic("no-weights", message, None, teacher.at, conversion_command(Path(shown(pickle))))
        return
    try:
        theirs = read_shape(weights)
    except NoShape as error:
        if is_folder(Path(teacher.path)):  # the cache may hold a part of a hub model
            message = f"the folder of the teacher holds no model: {error}"
            yield Diagnostic("no-weights", message, None, teacher.at)
        return
    if shape is not None and theirs.vocabulary != shape.vocabulary:
        message = (
            f'stage "{stage}": the teacher scores {theirs.vocabulary:,} tokens and the policy '
            f"{shape.vocabulary:,}: their distributions cannot be compared"
        )
        yield Diagnostic("other-vocabulary", message, None, teacher.at, _HINT)
        return
    yield from _tokens(teacher, stage, folder, weights, tokenizer)


_HINT = "a teacher of the same family; of another one the answers can be learned, as rows"


def _tokens(
    teacher: SecondModel, stage: str, folder: Path, weights: Path, tokenizer: TokenizerFiles | None
) -> Iterator[Diagnostic]:
    """Yield ids that the teacher maps to another token."""
    theirs = read_tokenizer(folder) or read_tokenizer(weights)
    if theirs is None:
        if is_folder(Path(teacher.path)):
            message = "the folder of the teacher holds no tokenizer: the meaning of its ids is unknown"
            hint = "put the tokenizer's files beside the weights: tokenizer.json, tokenizer_config.json"
            yield Diagnostic("no-tokenizer", message, None, teacher.at, hint)
        return
    if tokenizer is None or not (tokenizer.can_count and theirs.can_count):
        return
    ours, other = tokenizer.vocabulary, theirs.vocabulary
    apart = [token for token, number in ours.items() if other.get(token) != number]
    if apart:
        first = min(apart, key=ours.__getitem__)
        there = f"has id {other[first]}" if first in other else "is no token"
        message = (
            f'stage "{stage}": "{first}" has id {ours[first]} here and {there} in the teacher\'s vocabulary'
        )
        yield Diagnostic("other-vocabulary", message, None, teacher.at, _HINT)
