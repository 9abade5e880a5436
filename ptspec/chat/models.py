"""Open the policies of a chat from folders; policies over the same weights share them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptspec.checks.code_permission import model_spec
from ptspec.diagnostics import Diagnostic, InputError, Location, first_line
from ptspec.evaluation.generation import end_tokens
from ptspec.evaluation.targets import Target, last_of_each
from ptspec.model.classifier import is_reward_model
from ptspec.model.device import Device, find_device
from ptspec.model.model_cache import Bases
from ptspec.recipe.plan import ModelSpec


@dataclass(frozen=True)
class ChatModel:
    """A policy that answers; `context` is its maximum length in tokens, None if its config has none."""

    name: str
    model: Any
    tokenizer: Any
    context: int | None

    @property
    def ends(self) -> frozenset[int]:
        """The token ids that end an answer."""
        return end_tokens(self.model, self.tokenizer)

    @property
    def has_template(self) -> bool:
        """Whether prompts go through a chat template; else each prompt is continued as plain text."""
        return bool(self.tokenizer.chat_template)


def open_models(paths: Sequence[str], *, allow_code: bool = False) -> list[ChatModel]:
    """Open one policy per path: a run's last stage, a stage, an adapter or a model.

    Raises `InputError` if a path holds no policy, or needs code that is not allowed, before any weights are
    loaded.
    """
    asked = resolve_models(paths, allow_code)
    device = find_device()
    shelves: dict[ModelSpec, Bases] = {}
    return [_open(target, spec, shelves, device) for target, spec in asked]


def resolve_models(paths: Sequence[str], allow_code: bool) -> list[tuple[Target, ModelSpec]]:
    """Return what each path refers to and how its model is loaded.

    Raises `InputError` as `open_models` does.
    """
    asked = last_of_each(paths)
    for target in asked:
        _must_speak(target)
    specs = [model_spec(target.model, target.recipe, allow_code=allow_code) for target in asked]
    return list(zip(asked, specs, strict=True))


def _open(target: Target, spec: ModelSpec, shelves: dict[ModelSpec, Bases], device: Device) -> ChatModel:
    bases = shelves.setdefault(spec, Bases(spec, device))
    try:
        model, base = bases.open(target.adapter, target.artifact)
    except InputError:
        raise
    except Exception as error:  # damaged files raise arbitrary exceptions
        raise InputError(_cannot_open(target, error)) from error
    return ChatModel(target.name, model, base.tokenizer, _context(model))


def _context(model: Any) -> int | None:
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return limit if isinstance(limit, int) else None


def _must_speak(target: Target) -> None:
    folder = target.artifact.folder if target.artifact else Path(target.model)
    if is_reward_model(folder):
        hint = "pt eval tells how it scores; chat with a stage that yields a policy"
        message = f"{target.name} is a reward model: it scores answers and gives none"
        raise InputError(Diagnostic("not-a-policy", message, Location(str(folder)), hint=hint))


def _cannot_open(target: Target, error: Exception) -> Diagnostic:
    folder = target.artifact.folder if target.artifact else Path(target.model)
    hint = "pt verify RUN says which of its files differ from what was written"
    return Diagnostic(
        "cannot-load-model",
        f"{folder} cannot be loaded: {first_line(error)}",
        Location(str(folder)),
        hint=hint,
    )
