"""The tensors of a checkpoint under the names of the model that transformers opens for causal LM."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ptspec.architecture.modules import Modules

if TYPE_CHECKING:
    from ptspec.architecture.conversion import Shape


class Made(NamedTuple):
    """A tensor of the model. `sources`: the names in the checkpoint that it is made of."""

    shape: Shape
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Opened:
    """A checkpoint as opened by transformers.

    `parameters`: trainable tensors, tied ones once; `buffers`: the other tensors of the file; `left_out`:
    names in the checkpoint without a place in the model (a vision tower beside a text model).
    """

    modules: Modules
    parameters: Mapping[str, Made]
    buffers: Mapping[str, Made]
    left_out: tuple[str, ...] = ()


def open_checkpoint(config: Mapping[str, Any], shapes: Mapping[str, Shape]) -> Opened | None:
    """Return the model that `AutoModelForCausalLM` makes of a config and tensor shapes.

    None if the library's source does not determine it: custom code, an unknown type, or a class of which more
    than a tenth of the tensors find no place.
    """
    modules = Modules(config)
    if modules.root is None or "auto_map" in config:
        return None
    if all(map(modules.has_tensor, shapes)):
        made = {name: Made(shape, (name,)) for name, shape in shapes.items()}
    else:
        from ptspec.architecture.conversion import NotConvertible, converted

        try:
            made = {name: Made(*one) for name, one in converted(shapes, modules).items()}
        except (NotConvertible, IndexError):
            return None
    found = {n: one for n, one in made.items() if modules.has_tensor(n) and not _is_beyond(n, modules)}
    left_out = {name: one for name, one in made.items() if name not in found}
    unexpected = [
        name for name in left_out if not modules.has_tensor(name) and not _is_ignored(name, modules)
    ]
    if len(unexpected) > len(made) * UNKNOWN:
        return None
    buffers = {name: one for name, one in found.items() if modules.is_buffer(name)}
    parameters = {n: one for n, one in found.items() if n not in buffers and modules.tied.get(n) not in found}
    names = tuple(source for one in left_out.values() for source in one.sources)
    return Opened(modules, parameters, buffers, names)


LAYER = re.compile(r"(?P<stack>(?:[^.]+\.)*?(?:layers|h|blocks))\.(?P<index>\d+)\.(?P<rest>.+)")
"""The name of a tensor in one of a list of layers."""
UNKNOWN = 0.1
"""The share of tensors without a place from which a class counts as not understood."""


def _is_beyond(name: str, modules: Modules) -> bool:
    """Whether a tensor is of a layer that the config does not count: one that predicts further tokens."""
    layer = LAYER.match(name)
    count = modules.layers(layer["stack"]) if layer else None
    return layer is not None and count is not None and int(layer["index"]) >= count


def _is_ignored(name: str, modules: Modules) -> bool:
    """Whether the model leaves a tensor out on purpose."""
    patterns = modules.setting("_keys_to_ignore_on_load_unexpected")
    given = patterns if isinstance(patterns, list | tuple | set) else ()
    return modules.is_text_alone or any(re.search(str(pattern), name) for pattern in given)
