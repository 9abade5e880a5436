"""Code that a recipe or its model brings along: it runs where the command line allows it, nowhere else."""

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
"""What of a recipe's model says how its weights and its tokenizer are loaded; each a text."""


def check_allowed(plan: Plan, *, allow_code: bool) -> None:
    """Raises `InputError` with all that the plan would run without leave, or could not run with it: each
    fault at its place in the recipe, before anything is started."""
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
    """How the model at `path` is loaded, by the recipe of the run it belongs to (empty: none), in which the
    chat template is the template's text. Raises `InputError` where that would run code which was not
    allowed."""
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
    """A fault that knows its place in the plan, shown at its line of the recipe, if that still has one."""
    pointer, where = diagnostic.pointer, diagnostic.location
    if pointer is None or (where is not None and where.line is not None):
        return diagnostic
    try:
        written = read_document(plan.manifest or plan.recipe)
        document = written.within("/recipe") if plan.manifest else written
        return replace(diagnostic, location=document.locate(pointer))
    except (InputError, KeyError, LookupError):
        return diagnostic if where else replace(diagnostic, location=Location(str(plan.recipe)))
