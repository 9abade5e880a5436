"""Recipes of the small run, changed and read."""

import pytest
from support.small import write_recipe

from ptspec.recipe.resolve import read_recipe


@pytest.fixture
def read(tmp_path):
    """Reads the small recipe after a change."""

    def reading(*change, overrides=()):
        return read_recipe(write_recipe(tmp_path, *change), overrides)

    return reading
