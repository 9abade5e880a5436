"""Which class and file transformers' auto classes take for a `model_type`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptspec.architecture import classes
from ptspec.architecture.source import entry, library_file

_MODELING = "models/auto/modeling_auto.py"
_CONFIGURATIONS = "models/auto/auto_mappings.py"


def causal_lm(model_type: str, architectures: Any = None) -> str | None:
    """Return the class that `AutoModelForCausalLM` takes for a model type; None if it refuses the type.

    Of several classes it takes the one in the config's `architectures`, else the first.
    """
    found = entry("transformers", _MODELING, "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", model_type)
    if isinstance(found, tuple) and isinstance(architectures, list):
        return _first(tuple(name for name in architectures if name in found) or found)
    return _first(found)


def sequence_classifier(model_type: str) -> str | None:
    """Return the class that `AutoModelForSequenceClassification` takes for a model type, if any."""
    name = "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES"
    return _first(entry("transformers", _MODELING, name, model_type))


def base_model(model_type: str) -> str | None:
    """Return the class that `AutoModel` takes for a model type, if any."""
    return _first(entry("transformers", _MODELING, "MODEL_MAPPING_NAMES", model_type))


def is_known(model_type: str) -> bool:
    """Return whether the installed transformers has a configuration for a model type."""
    return config_class(model_type) is not None


def config_class(model_type: str) -> str | None:
    """Return the name of the configuration class of a model type."""
    return _first(entry("transformers", _CONFIGURATIONS, "CONFIG_MAPPING_NAMES", model_type))


def config_fields(model_type: str) -> set[str]:
    """Return the field names of the configuration class of a model type."""
    found = classes.find(_module_file(model_type, "configuration"), config_class(model_type) or "")
    return classes.fields(found) if found else set()


def modeling_file(model_type: str) -> Path:
    """Return the path of the file that defines the models of a type."""
    return _module_file(model_type, "modeling")


def config_default(model_type: str, field: str) -> Any:
    """Return the default of a field of a model type's configuration class; None if it has none."""
    found = classes.find(_module_file(model_type, "configuration"), config_class(model_type) or "")
    return classes.setting(found, field) if found else None


def _module_file(model_type: str, kind: str) -> Path:
    special = entry("transformers", _CONFIGURATIONS, "SPECIAL_MODEL_TYPE_TO_MODULE_NAME", model_type)
    module = str(special or model_type.replace("-", "_"))
    return library_file("transformers", f"models/{module}/{kind}_{module}.py")


def _first(name: Any) -> str | None:
    """Some types have several classes; the auto class takes the first unless `architectures` says another."""
    if isinstance(name, tuple | list):
        name = name[0] if name else None
    return name if isinstance(name, str) else None
