"""The shape of the model that a recipe names."""

from __future__ import annotations

from pathlib import Path

from ptspec.recipe.headers import NoShape
from ptspec.recipe.plan import ModelSpec
from ptspec.recipe.shape import ModelShape, read_shape


def shape_of(spec: ModelSpec) -> ModelShape:
    """Return the shape of a recipe's model. Raises `NoShape` if it is unknown."""
    if spec.local:
        return read_shape(Path(spec.path))
    if spec.hub is None or spec.hub.shape is None:
        raise NoShape(f"{spec.path} is on the hub, and its files were not looked at")
    return spec.hub.shape
