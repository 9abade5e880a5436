"""The models of a run, each loaded once, and policies opened from folders over them."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers import GenerationConfig

from ptspec.model.adapters import attach
from ptspec.model.base import NAMED, Base, default_dtype, load_base, load_tokenizer
from ptspec.model.device import Device
from ptspec.model.free_memory import give_back
from ptspec.model.hub import must_be_loadable
from ptspec.model.shape_of import shape_of
from ptspec.model.stop_tokens import GENERATION_CONFIG, stop_at_answer_end
from ptspec.recipe.headers import NoShape
from ptspec.recipe.hints import first_of
from ptspec.recipe.json_object import read_object
from ptspec.recipe.plan import AdapterSpec, ModelSpec
from ptspec.store.files import read_json
from ptspec.store.stage_folder import MODEL_CONFIG, Artifact

TOKENIZER_CONFIG = "tokenizer_config.json"


@dataclass(frozen=True)
class Weights:
    """Weights as a stage opens them.

    `folder`: where they are (None: the recipe's model); `adapter`: the precision to load them in.
    """

    folder: str | None
    adapter: AdapterSpec


@dataclass(frozen=True)
class _Key:
    """The properties of a load that determine its tensors."""

    folder: str | None
    dtype: str
    quantization: str | None


class Bases:
    """Loads weights on first use, and holds them until `keep` frees them."""

    def __init__(self, spec: ModelSpec, device: Device, warn: Callable[[str], None] | None = None) -> None:
        """Start with no weights loaded.

        `warn` receives, once, unused tensors that `pt validate` does not report.
        """
        self._spec = spec
        self._warn = warn
        self.device = device
        self._loaded: dict[_Key, Base] = {}

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer that stages are trained with; loads no weights. Raises `InputError`."""
        must_be_loadable(self._spec.path, self._spec.revision, self._spec.at)
        return load_tokenizer(self._spec)

    def get(self, adapter: AdapterSpec, incoming: Artifact | None = None) -> Base:
        """Return the weights below `incoming` (None: nothing), in the precision of `adapter`."""
        weights = self.weights(adapter, incoming)
        key = self._key(weights)
        if key not in self._loaded:
            self._loaded[key] = load_base(self._spec, adapter, self.device, weights.folder)
            if weights.folder is None:
                self._tell_left_out(self._loaded[key].left_out)
        self._loaded[key].bring(self.device)
        return self._loaded[key]

    def give_away(
        self, adapter: AdapterSpec, incoming: Artifact | None = None, needed: Collection[Weights] = ()
    ) -> Base:
        """Return those weights for a stage that changes them in place; a later use loads them anew.

        If they are among those `needed` later, or a policy over them exists, they are only lent, and the
        stage must copy them.
        """
        base = self.get(adapter, incoming)
        key = self._key(self.weights(adapter, incoming))
        gc.collect()
        if base.in_use or key in {self._key(one) for one in needed}:
            return base
        del self._loaded[key]
        return replace(base, given_away=True)

    def open(self, adapter: AdapterSpec, artifact: Artifact | None) -> tuple[Any, Base]:
        """Open the policy in `artifact` (None: the bare base), and return it with the base below it.

        Uses the folder's own tokenizer, chat template and end tokens if it has them.
        """
        base = self.get(adapter, artifact)
        model = base.spawn()
        if artifact is not None and artifact.is_adapter:
            model = attach(model, artifact.folder, trainable=False)
            stop_as_in(artifact.folder, model.generation_config)
            if (artifact.folder / TOKENIZER_CONFIG).is_file():
                base = replace(base, tokenizer=load_tokenizer(self._spec, str(artifact.folder)))
                stop_at_answer_end(model.generation_config, base.tokenizer)
        return model.eval(), base

    def below(self, adapter: AdapterSpec) -> Callable[[str], Base | None]:
        """Return a function that opens the base in the precision of `adapter`.

        It returns None for other paths.
        """
        return lambda weights: self.get(adapter) if weights == self._spec.path else None

    def release(self) -> None:
        """Free what stages have left; called between stages, when their objects are gone."""
        give_back()

    def weights(self, adapter: AdapterSpec, incoming: Artifact | None = None) -> Weights:
        """Return the identity of the weights below `incoming`, in the precision of `adapter`."""
        is_base = incoming is None or incoming.weights == self._spec.path
        return Weights(None if is_base or incoming is None else incoming.weights, adapter)

    def _tell_left_out(self, names: tuple[str, ...]) -> None:
        if names and self._warn is not None and not _is_understood(self._spec):
            what = "tensors of the checkpoint that are not part of the model are left out"
            self._warn(f"{what}: {first_of(names, NAMED)}")
            self._warn = None

    def keep(self, needed: Collection[Weights]) -> None:
        """Free all weights but these."""
        keys = {self._key(one) for one in needed}
        for key in [key for key in self._loaded if key not in keys]:
            del self._loaded[key]
        self.release()

    def park(self) -> None:
        """Move unused weights to host memory until their next use."""
        gc.collect()
        for base in self._loaded.values():
            base.park()
        self.release()

    def moved(self, before: Path, after: Path) -> None:
        """Follow a renamed folder: what was opened from it stays valid."""
        for key in [key for key in self._loaded if key.folder == str(after)]:
            del self._loaded[key]
        for key in [key for key in self._loaded if key.folder == str(before)]:
            self._loaded[replace(key, folder=str(after))] = self._loaded.pop(key).renamed(str(after))

    def _key(self, weights: Weights) -> _Key:
        adapter = weights.adapter
        quantization = json.dumps(dict(adapter.quantization), sort_keys=True) if adapter.use_qlora else None
        dtype = self._spec.dtype or default_dtype(adapter, self.device)
        if dtype == "auto":
            dtype = _stored_dtype(Path(weights.folder or self._spec.path)) or dtype
        return _Key(weights.folder, dtype, quantization)


def _stored_dtype(folder: Path) -> str | None:
    """Return the dtype of the weights in a folder, from its config; None if it has none."""
    config = read_object(folder / MODEL_CONFIG)
    found = config.get("dtype", config.get("torch_dtype"))
    return found if isinstance(found, str) else None


def _is_understood(spec: ModelSpec) -> bool:
    """Return whether `pt validate` can tell which tensors of the checkpoint are loaded."""
    try:
        return shape_of(spec).modules is not None
    except NoShape:
        return False


def stop_as_in(folder: Path, generation: GenerationConfig) -> None:
    """Set the end tokens of `generation` to those of the generation config in `folder`, if any."""
    file = folder / GENERATION_CONFIG
    given = read_json(file).get("eos_token_id") if file.is_file() else None
    if given is not None:
        generation.eos_token_id = given
