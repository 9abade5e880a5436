"""Find the modules of a model by name without building it, from its classes' source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

from ptspec.architecture import auto, classes
from ptspec.architecture.classes import Auto, Items, Library, Node, Own, Value


class Kind(Enum):
    """Kinds of module that LoRA and quantisation distinguish.

    `LINEAR_LIKE` derives from `nn.Linear`: PEFT treats it as one, bitsandbytes does not.
    """

    LINEAR = "linear"
    LINEAR_LIKE = "linear-like"
    CONV1D = "Conv1D"
    EMBEDDING = "embedding"
    OTHER = "other"


@dataclass(frozen=True)
class Place:
    """A candidate for a module, with its config."""

    node: Node
    config: int


class Modules:
    """The module tree of the class that `AutoModelForCausalLM` opens for a config."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._configs: list[Mapping[str, Any]] = [config]
        self._found: dict[str, frozenset[Place]] = {}
        kind = str(config.get("model_type", ""))
        name = auto.causal_lm(kind, config.get("architectures"))
        self.root = classes.find(auto.modeling_file(kind), name) if name else None
        if self.root is not None and self.is_text_alone:
            self._configs[0] = config["text_config"]

    @cached_property
    def is_text_alone(self) -> bool:
        """Whether only the language model of a multimodal model is opened."""
        text = self._configs[0].get("text_config")
        if self.root is None or not isinstance(text, dict):
            return False
        given = classes.setting(self.root, "config_class") or classes.setting(self.root, "config")
        return given is not None and given == auto.config_class(str(text.get("model_type", "")))

    @property
    def config(self) -> Mapping[str, Any]:
        """The config of the opened model."""
        return self._configs[0]

    @cached_property
    def prefix(self) -> str:
        """`base_model_prefix`: the prefix that a checkpoint of the bare decoder lacks."""
        return str(self.setting("base_model_prefix") or "")

    def setting(self, name: str) -> Any:
        """Return a constant of the model's class."""
        return classes.setting(self.root, name) if self.root else None

    def default(self, field: str) -> Any:
        """Return a field of the config, or its class's default."""
        kind = str(self.config.get("model_type", ""))
        return self.config[field] if field in self.config else auto.config_default(kind, field)

    @cached_property
    def tied(self) -> Mapping[str, str]:
        """Return tied tensors, by config: the output head that equals the input embedding."""
        pairs = self.setting("_tied_weights_keys")
        is_tied = bool(self.default("tie_word_embeddings"))
        return pairs if is_tied and isinstance(pairs, dict) else {}

    def gives_tuple(self, name: str) -> bool:
        """Return whether a module's output is a tuple, which LoRA cannot wrap."""
        owners = [place.node for place in self._places(name) if isinstance(place.node, Own)]
        return any(classes.returns_tuple(owner) for owner in owners)

    def sub_config(self, tensor: str) -> str:
        """Return the config section of a tensor's module ("vision_config"); "" for the model's own."""
        owners = self._places(tensor.rpartition(".")[0])
        configs = [self._configs[place.config] for place in owners if place.config]
        return next((key for key, value in self.config.items() for one in configs if value is one), "")

    def models(self) -> Iterator[tuple[str, str, str]]:
        """Yield name, class and type of the model, its decoder, and nested auto-class models.

        The type is "" for the model's own.
        """
        if self.root is None:
            return
        yield "", self.root.name, str(self.config.get("model_type", ""))
        todo = [self.prefix] if self.prefix else []
        for name in todo:
            for place in self._places(name):
                if isinstance(place.node, Own):
                    kind = str(self._configs[place.config].get("model_type", "")) if place.config else ""
                    yield name, place.node.name, kind
                    inner = classes.opened(place.node) if name == self.prefix else []
                    todo += [f"{name}.{attribute}" for attribute in inner]

    def exists(self, name: str) -> bool:
        """Return whether the model may have a module or a tensor of this name."""
        return bool(self._places(name))

    def has_tensor(self, name: str) -> bool:
        """Return whether the model may have a parameter or buffer of this name."""
        owner, _, last = name.rpartition(".")
        return any(self._holds(place, last) for place in self._places(owner))

    def is_buffer(self, name: str) -> bool:
        """Return whether a tensor is a buffer, which is not trained."""
        found = {place.node for place in self._places(name)}
        return found == {Value(False)}

    def kind(self, name: str) -> Kind:
        """Return a module's kind; OTHER if it is ambiguous or unknown."""
        kinds = {self._kind(place.node) for place in self._places(name)}
        return kinds.pop() if len(kinds) == 1 else Kind.OTHER

    def class_name(self, name: str) -> str | None:
        """Return the class of a module with a single candidate, else None."""
        names = {place.node.name for place in self._places(name) if isinstance(place.node, Own | Library)}
        return names.pop() if len(names) == 1 else None

    def layers(self, stack: str) -> int | None:
        """Return the number of decoder layers.

        None if `stack` is not their list or the config has no number.
        """
        owner = stack.rpartition(".")[0]
        text = self.config.get("text_config")
        is_text = [place.config == 0 or self._configs[place.config] is text for place in self._places(stack)]
        if not all(is_text) or not is_text or (owner != self.prefix and not isinstance(text, dict)):
            return None
        config = {**self.config, **text} if isinstance(text, dict) else self.config
        given = (config.get(name) for name in ("num_hidden_layers", "n_layer", "num_layers"))
        return next((number for number in given if isinstance(number, int)), None)

    def in_order(self, module: str, names: Sequence[str]) -> list[str]:
        """Return a module's tensors in the order in which its class creates them."""
        owners = [place.node for place in self._places(module) if isinstance(place.node, Own)]
        made = classes.attributes(owners[0]) if owners else []
        order = {f"{module}.{name}": index for index, name in enumerate(made)}
        return sorted(names, key=lambda name: order.get(name, 0))

    def _places(self, name: str) -> frozenset[Place]:
        if self.root is None:
            return frozenset()
        if not name:
            return frozenset({Place(self.root, 0)})
        if name not in self._found:
            owner, _, last = name.rpartition(".")
            found = {step for place in self._places(owner) for step in self._step(place, last)}
            self._found[name] = frozenset(self._opened(place) for place in found)
        return self._found[name]

    def _step(self, place: Place, name: str) -> set[Place]:
        node = place.node
        if isinstance(node, Own):
            return {Place(one, place.config) for one in classes.attribute(node, name)}
        if isinstance(node, Items) and name.isdigit():
            index = int(name)
            at = node.at[index] if index < len(node.at) else frozenset()
            return {Place(one, place.config) for one in node.each | at}
        inner = _INNER.get((node.name, name)) if isinstance(node, Library) else None
        return {Place(inner, place.config)} if inner else set()

    def _opened(self, place: Place) -> Place:
        """Replace an auto class by the class that it opens."""
        if not isinstance(place.node, Auto):
            return place
        config = self._configs[place.config]
        inner = config.get(place.node.config) if place.node.config else config
        kind = str(inner.get("model_type", "")) if isinstance(inner, dict) else ""
        name = auto.base_model(kind)
        found = classes.find(auto.modeling_file(kind), name) if name else None
        if found is None or not isinstance(inner, dict):
            return Place(Library(""), place.config)
        self._configs.append(inner)
        return Place(found, len(self._configs) - 1)

    def _holds(self, place: Place, tensor: str) -> bool:
        if isinstance(place.node, Library):
            return True
        if not isinstance(place.node, Own):
            return False
        if classes.library_base(place.node) and tensor in ("weight", "bias"):
            return True
        return any(isinstance(node, Value) for node in classes.attribute(place.node, tensor))

    def _kind(self, node: Node) -> Kind:
        if isinstance(node, Library):
            return _LIBRARY.get(node.name, Kind.OTHER)
        if not isinstance(node, Own):
            return Kind.OTHER
        base = classes.library_base(node)
        return Kind.LINEAR_LIKE if base == "Linear" else _LIBRARY.get(base or "", Kind.OTHER)


_INNER = {("MultiheadAttention", "out_proj"): Library("NonDynamicallyQuantizableLinear")}
"""Modules inside those of torch."""
_LIBRARY = {
    "NonDynamicallyQuantizableLinear": Kind.LINEAR_LIKE,
    "Linear": Kind.LINEAR,
    "Conv1D": Kind.CONV1D,
    "Embedding": Kind.EMBEDDING,
}
