"""Open the teacher of a stage: a second policy that training does not change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ptspec.model.base import load_base
from ptspec.model.model_cache import Bases
from ptspec.recipe.plan import BASE, AdapterSpec, Plan
from ptspec.recipe.second_models import folder_of
from ptspec.recipe.signals import SecondModel
from ptspec.run.needs import teacher_adapter
from ptspec.store.stage_folder import open_artifact


def open_teacher(plan: Plan, teacher: SecondModel, bases: Bases) -> Any:
    """Return the model, sharing weights with others if it is an adapter.

    Raises `InputError` if it cannot be loaded.
    """
    folder = None if teacher.path == BASE else folder_of(plan, teacher.path)
    if teacher.path == BASE or folder is not None:
        artifact = None if folder is None else open_artifact(folder, teacher.at)
        model, _ = bases.open(teacher_adapter(plan, teacher), artifact)
        # The model below the PEFT wrapper, its LoRA layers in place: TRL reads its config and its head.
        model = model.get_base_model() if artifact is not None and artifact.is_adapter else model
    else:
        spec = replace(
            plan.model,
            path=teacher.path,
            local=False,
            revision=teacher.revision,
            hub=None,
            trust_remote_code=False,
            at=teacher.at,
        )
        model = load_base(spec, AdapterSpec(True), bases.device).spawn()
    return model.eval().requires_grad_(False)
