"""Choose who generates an evaluation's answers: the policies themselves, or the recipe's server."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ptspec.checks.served_evaluation import evaluation_server
from ptspec.recipe.plan import AdapterSpec, Plan
from ptspec.recipe.served_evaluation import evaluation_vllm
from ptspec.store.stage_folder import Artifact

if TYPE_CHECKING:
    from ptspec.evaluation.served import Host, Served


class Answering:
    """The server of a plan's evaluation, if it has one. `warn` receives policies it cannot serve."""

    def __init__(self, plan: Plan, warn: Callable[[str], None]) -> None:
        self.plan = plan
        self.warn = warn

    def for_policy(
        self, name: str, artifact: Artifact | None, adapter: AdapterSpec
    ) -> AbstractContextManager[Served | None]:
        """Serve the policy in `artifact` (None: the base) within the context; None without a server.

        Raises `ServerError` if the server fails.
        """
        if self._host is None:
            return nullcontext()
        from ptspec.evaluation.served import Asked

        return self._host.answering(Asked(name, artifact, adapter, self.plan.model.path), self.warn)

    @cached_property
    def _host(self) -> Host | None:
        spec = evaluation_vllm(self.plan.evaluation, self.plan.compute)
        server = evaluation_server(self.plan)
        if server is None or spec is None:
            return None
        from ptspec.evaluation.served import Host

        folder = spec.given.get("adapter_folder")
        return Host(server, Path(folder) if folder is not None else None)
