"""The base models of a run, each loaded once, and policies opened from folders over them."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from ptspec.model.adapters import attach
from ptspec.model.base import NAMED, Base, load_base, load_tokenizer
from ptspec.model.device import Device
from ptspec.model.hub import must_be_loadable, shape_of
from ptspec.model.stop_tokens import GENERATION_CONFIG, stop_at_answer_end
from ptspec.recipe.headers import NoShape
from ptspec.recipe.hints import first_of
from ptspec.recipe.plan import AdapterSpec, ModelSpec
from ptspec.store.files import read_json
from ptspec.store.stage_folder import Artifact

TOKENIZER_CONFIG = "tokenizer_config.json"


class Bases:
    """Loads weights when they are first asked for. Full-weights stages are kept one at a time: each is as
    large as the base, and a chain needs only the last."""

    def __init__(self, spec: ModelSpec, device: Device, warn: Callable[[str], None] | None = None) -> None:
        """`warn` is told, once, of tensors that are left out and that `pt validate` does not tell of."""
        self._spec = spec
        self._warn = warn
        self.device = device
        self._loaded: dict[tuple[object, ...], Base] = {}

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer that stages are trained with; loads no weights. Raises `InputError`."""
        must_be_loadable(self._spec.path, self._spec.revision, self._spec.at)
        return load_tokenizer(self._spec)

    def get(self, adapter: AdapterSpec, incoming: Artifact | None = None) -> Base:
        """The weights that `incoming` (None: nothing) stands on, in the precision that `adapter` asks for."""
        key = self._key(adapter, incoming)
        if key not in self._loaded:
            self._forget_stages()
            self._loaded[key] = load_base(self._spec, adapter, self.device, self._folder(incoming))
            if self._folder(incoming) is None:
                self._tell_left_out(self._loaded[key].left_out)
        return self._loaded[key]

    def give_away(self, adapter: AdapterSpec, incoming: Artifact | None = None) -> Base:
        """Those weights for a stage that changes them in place; whoever wants them next loads them anew.

        While a policy over them is alive they are lent only, and the stage has to copy them.
        """
        base = self.get(adapter, incoming)
        gc.collect()
        if base.in_use:
            return base
        del self._loaded[self._key(adapter, incoming)]
        return replace(base, given_away=True)

    def open(self, adapter: AdapterSpec, artifact: Artifact | None) -> tuple[Any, Base]:
        """The policy in `artifact` (None: the bare base), as anyone would load it, and the base below it,
        with the artifact's own tokenizer, chat template and end tokens where its folder holds them."""
        base = self.get(adapter, artifact)
        model = base.spawn()
        if artifact is not None and artifact.is_adapter:
            model = attach(model, artifact.folder, trainable=False)
            _stop_as_in(artifact.folder, model.generation_config)
            if (artifact.folder / TOKENIZER_CONFIG).is_file():
                base = replace(base, tokenizer=load_tokenizer(self._spec, str(artifact.folder)))
                stop_at_answer_end(model.generation_config, base.tokenizer)
        return model.eval(), base

    def release(self) -> None:
        """Gives back what stages left behind; called between stages, when their objects are gone."""
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _tell_left_out(self, names: tuple[str, ...]) -> None:
        if names and self._warn is not None and not _is_understood(self._spec):
            what = "tensors of the checkpoint that are no part of the model are left out"
            self._warn(f"{what}: {first_of(names, NAMED)}")
            self._warn = None

    def _key(self, adapter: AdapterSpec, incoming: Artifact | None) -> tuple[object, ...]:
        quantization = json.dumps(dict(adapter.quantization), sort_keys=True)
        return (self._folder(incoming), adapter.use_qlora, adapter.use_lora or None, quantization)

    def _folder(self, incoming: Artifact | None) -> str | None:
        if incoming is None or incoming.weights == self._spec.path:
            return None
        return incoming.weights

    def _forget_stages(self) -> None:
        for key in [key for key in self._loaded if key[0] is not None]:
            del self._loaded[key]
        gc.collect()


def _is_understood(spec: ModelSpec) -> bool:
    """Whether `pt validate` knows what of the checkpoint is opened."""
    try:
        return shape_of(spec).modules is not None
    except NoShape:
        return False


def _stop_as_in(folder: Path, generation: GenerationConfig) -> None:
    """Gives `generation` the end tokens of the generation config in `folder`, if there is one."""
    file = folder / GENERATION_CONFIG
    given = read_json(file).get("eos_token_id") if file.is_file() else None
    if given is not None:
        generation.eos_token_id = given
