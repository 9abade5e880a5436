"""Check that the generation servers of a run can be reached."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec

from ptspec.diagnostics import Diagnostic, PtError
from ptspec.recipe.json_pointer import at, join
from ptspec.recipe.plan import Plan
from ptspec.recipe.vllm import VLLMSpec, vllm_of


def check_generation_servers(plan: Plan, *, starts: bool) -> Iterator[Diagnostic]:
    """Yield errors of the servers that sample for stages.

    Checks address and key; if the run `starts` here, also that the server answers and serves a model.
    """
    asked: dict[str, VLLMSpec] = {}
    for stage in plan.trained:
        spec = vllm_of(stage)
        if spec is not None and spec.is_plain_server:
            own = join(stage.at, "compute", "vllm")
            asked[own if at(plan.document, own) is not None else "/compute/vllm"] = spec
    for where, spec in asked.items():
        yield from _check(spec, where, starts=starts)


def _check(spec: VLLMSpec, where: str, *, starts: bool) -> Iterator[Diagnostic]:
    from ptspec.generation_server.requests import is_address

    if not is_address(spec.base_url):
        message = "this is not the address of a server, or has more parts (a user, a query, a fragment)"
        place = join(where, "server_base_url")
        yield Diagnostic("generation-server", message, None, place, "such as http://localhost:8000")
        return
    key = spec.given.get("api_key_env")
    if starts and key is not None and not os.environ.get(key):
        message = f"the environment has no {key}, in which the server's key stands"
        yield Diagnostic("generation-server", message, None, join(where, "api_key_env"), f"export {key}=…")
        return
    if not starts or find_spec("httpx") is None:  # reported by the machine check
        return
    from ptspec.generation_server.client import GenerationServer

    try:
        server = GenerationServer(
            spec.base_url, at=where, key=os.environ.get(key) if key else None, timeout=10.0, retries=0
        )
        server.must_be_up()
        server.model()
    except PtError as error:
        yield from error.diagnostics
