"""Permission for Python code that a recipe or its model brings: it runs only with --allow-code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ptspec.checks.own_code import is_kernel
from ptspec.checks.served_evaluation import server_errors
from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.recipe.document import read_document
from ptspec.recipe.paths import exists
from ptspec.recipe.plan import ModelSpec, Plan
from ptspec.rewards.build import check_judge_is_up, check_ready

FIELDS = ("revision", "dtype", "attn_implementation", "chat_template", "eos_token", "pad_token")
"""Fields of a recipe's model that say how weights and tokenizer are loaded; each a string."""


def check_allowed(plan: Plan, *, allow_code: bool) -> None:
    """Check before anything starts that all code of the plan may run.

    Raises `InputError` with every error at its place in the recipe: code that is not allowed, or that could
    not run if it were.
    """
    faults = [] if allow_code else list(_of_model(plan.model))
    try:
        check_ready(plan, allow_code=allow_code)
    except InputError as error:
        faults += error.diagnostics
    if not faults:
        faults = [*_of_judge(plan), *server_errors(plan)]
    if faults:
        raise InputError(*(located(fault, plan) for fault in faults))


def _of_judge(plan: Plan) -> Sequence[Diagnostic]:
    try:
        check_judge_is_up(plan)
    except InputError as error:
        return error.diagnostics
    return ()


def _of_model(spec: ModelSpec) -> Iterator[Diagnostic]:
    if spec.trust_remote_code:
        message = f"this runs the Python code of {spec.path}, and the recipe may not run code"
        yield _not_allowed(message, "/model/trust_remote_code", spec.path)
    if is_kernel(spec):
        message = f"this is a kernel from the hub ({spec.attn_implementation}), which is code"
        yield _not_allowed(message, "/model/attn_implementation", spec.attn_implementation)


def _not_allowed(message: str, pointer: str, what: str | None) -> Diagnostic:
    hint = f"read {what}, then give the command --allow-code"
    return Diagnostic("code-not-allowed", message, pointer=pointer, hint=hint)


def model_spec(path: str, recipe: Mapping[str, Any], *, allow_code: bool) -> ModelSpec:
    """Return how the model at `path` is loaded, by the recipe of its run (empty: none).

    In that recipe the chat template is the template's text. Raises `InputError` if loading would run code
    that is not allowed.
    """
    given = recipe.get("model")
    said = given if isinstance(given, dict) else {}
    fields = {name: said[name] for name in FIELDS if isinstance(said.get(name), str)}
    new = said.get("additional_special_tokens")
    spec = ModelSpec(
        path,
        exists(Path(path)),
        **fields,
        additional_special_tokens=tuple(map(str, new)) if isinstance(new, list) else (),
        trust_remote_code=said.get("trust_remote_code") is True,
    )
    if not allow_code and (faults := list(_of_model(spec))):
        raise InputError(*faults)
    return spec


def located(diagnostic: Diagnostic, plan: Plan) -> Diagnostic:
    """Return a plan's diagnostic with its line of the recipe, if the file still has that line."""
    pointer, where = diagnostic.pointer, diagnostic.location
    if pointer is None or (where is not None and where.line is not None):
        return diagnostic
    try:
        written = read_document(plan.manifest or plan.recipe)
        document = written.within("/recipe") if plan.manifest else written
        return replace(diagnostic, location=document.locate(pointer))
    except (InputError, KeyError, LookupError):
        return diagnostic if where else replace(diagnostic, location=Location(str(plan.recipe)))
