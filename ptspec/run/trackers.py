"""Whether the trackers that a recipe reports to are installed. Imports none of them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from ptspec.recipe.plan import TrackingSpec

PACKAGES = {
    "azure_ml": "azureml",
    "clearml": "clearml",
    "codecarbon": "codecarbon",
    "comet_ml": "comet_ml",
    "dagshub": "dagshub",
    "dvclive": "dvclive",
    "flyte": "flytekit",
    "mlflow": "mlflow",
    "neptune": "neptune",
    "swanlab": "swanlab",
    "tensorboard": "tensorboard",
    "trackio": "trackio",
    "wandb": "wandb",
}
"""The module that each tracker needs."""
INSTALLED_AS = {"azureml": "azureml-core", "comet_ml": "comet-ml"}
"""The distribution of a module, where its name is another."""


def packages_lacking(spec: TrackingSpec) -> Iterator[tuple[str, str]]:
    """Each tracker that is not installed here, and the package that it takes."""
    for tracker in spec.report_to:
        module = PACKAGES.get(tracker)
        if module is not None and find_spec(module) is None:
            yield tracker, INSTALLED_AS.get(module, module)
