"""The generation server of an evaluation: that of the recipe's `compute.vllm`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ptspec.diagnostics import Diagnostic, InputError, PtError
from ptspec.recipe.json_pointer import join
from ptspec.recipe.plan import Plan
from ptspec.recipe.served_evaluation import evaluation_vllm

if TYPE_CHECKING:
    from ptspec.generation_server.client import GenerationServer

WHERE = "/compute/vllm"


def evaluation_server(plan: Plan) -> GenerationServer | None:
    """Return the server that generates the evaluation's answers; None if the policies generate them.

    Sends no request. Raises `InputError` for an invalid address or key, or if httpx is not installed.
    """
    spec = evaluation_vllm(plan.evaluation, plan.compute)
    if spec is None:
        return None
    from ptspec.generation_server.client import GenerationServer

    variable = spec.given.get("api_key_env")
    key = os.environ.get(variable) if variable else None
    if variable and not key:
        message = f"the environment has no {variable}, in which the server's key stands"
        place = join(WHERE, "api_key_env")
        raise InputError(Diagnostic("generation-server", message, None, place, f"export {variable}=…"))
    return GenerationServer(spec.base_url, at=WHERE, key=key)


def server_errors(plan: Plan) -> Sequence[Diagnostic]:
    """Return the server's errors, requested before the first stage starts."""
    try:
        server = evaluation_server(plan)
        if server is not None:
            server.must_be_up()
            server.model()
    except PtError as error:
        return error.diagnostics
    return ()
