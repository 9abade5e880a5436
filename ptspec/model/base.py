"""The base model: loaded once, its weights shared by every stage of a run.

A trainer patches its model (TRL replaces `forward`), casts its parameters, and lets an adapter change them.
No trainer gets the loaded model: each stage gets new modules and parameters over the same storage
(`Base.spawn`).
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    FineGrainedFP8Config,
    Mxfp4Config,
    PretrainedConfig,
)

from ptspec.diagnostics import Diagnostic, InputError, first_line
from ptspec.model.device import Device
from ptspec.model.hub import must_be_loadable
from ptspec.model.special_tokens import unknown_token
from ptspec.model.stop_tokens import end_ids, stop_at_answer_end
from ptspec.model.vocabulary import grow
from ptspec.recipe.hints import first_of
from ptspec.recipe.plan import AdapterSpec, ModelSpec
from ptspec.recipe.quantised import read_quantised
from ptspec.store.safetensors_only import refuse_pickles

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "auto": "auto"}
NF4 = {
    "load_in_4bit": True,
    "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_use_double_quant": True,
}

NAMED = 3
"""Number of missing tensors named in a message."""
UNPACKED = {"mxfp4": Mxfp4Config, "fp8": FineGrainedFP8Config}
"""Quantised releases that are dequantised to bf16 when loaded: their kernels have no backward pass."""


@dataclass(frozen=True)
class Base:
    """A loaded model, which stays unchanged; `path` is the folder or hub id for an adapter's config.

    `given_away`: nothing else needs these weights, so the stage that has them may change them in place.
    `left_out`: tensors of the files that are not part of the model.
    """

    path: str
    model: Any
    tokenizer: Any
    parameters: int
    given_away: bool = False
    left_out: tuple[str, ...] = ()
    _spawned: weakref.WeakSet[Any] = field(default_factory=weakref.WeakSet, repr=False, compare=False)

    @property
    def in_use(self) -> bool:
        """Whether a model over these tensors still exists."""
        return len(self._spawned) > 0

    def park(self) -> None:
        """Move the weights to host memory, unless a model over them exists.

        Quantised weights stay: they are small, and made for the device.
        """
        if not self.in_use and not _is_quantised(self.model):
            self.model.to("cpu")

    def bring(self, device: Device) -> None:
        """Move parked weights back to `device`."""
        if str(self.model.device) != device.place and not _is_quantised(self.model):
            self.model.to(device.place)

    def let_go(self) -> None:
        """Free the weights, once a model made from them was sharded into storage of its own.

        Config and tokenizer stay; the model must not be computed any more.
        """
        self.model.to("meta")

    def renamed(self, path: str) -> Base:
        """Return the same weights with `path` as their folder."""
        self.model.config.name_or_path = self.model.name_or_path = self.tokenizer.name_or_path = path
        return replace(self, path=path)

    def spawn(self, *, own_weights: bool = False) -> Any:
        """Return new modules whose parameters share storage with these.

        Casting or replacing their `.data` does not affect this model. With `own_weights`, whose storage may
        be changed, copies, or the parameters themselves if the weights were given away.
        """
        if own_weights and not self.given_away:
            return copy.deepcopy(self.model).requires_grad_(True)
        parameters = list(self.model.parameters())
        handed_out = parameters if own_weights else [_alias(parameter) for parameter in parameters]
        memo = {id(ours): theirs for ours, theirs in zip(parameters, handed_out, strict=True)}
        memo |= {id(tensor): tensor for tensor in (*self.model.buffers(), *_quantisation(self.model))}
        spawned = copy.deepcopy(self.model, memo)
        spawned.requires_grad_(own_weights)
        self._spawned.add(spawned)
        return spawned


def _is_quantised(model: Any) -> bool:
    return getattr(model, "hf_quantizer", None) is not None


def _alias(parameter: torch.nn.Parameter) -> torch.nn.Parameter:
    """Return another parameter over the same storage, of the same class, with the same attributes.

    bitsandbytes stores the scales of a quantised parameter there.
    """
    alias = torch.Tensor._make_subclass(type(parameter), parameter.detach(), parameter.requires_grad)
    vars(alias).update(vars(parameter))
    return alias


def _quantisation(model: torch.nn.Module) -> Iterator[Any]:
    """Return bitsandbytes' state beside parameters: of 4-bit weights, and scales of 8-bit ones.

    The first forward pass of 8-bit layers moves weights and scales out of the parameter.
    """
    for module in model.modules():
        state = getattr(module, "state", None)
        kept = getattr(module, "quant_state", None), getattr(state, "CB", None), getattr(state, "SCB", None)
        yield from (one for one in kept if one is not None)


def load_tokenizer(spec: ModelSpec, folder: str | None = None) -> Any:
    """Return the tokenizer of `folder`, or of the base, with the recipe's template and special tokens.

    Without a pad token, eos is used. Raises `InputError` for an unknown token.
    """
    tokenizer = AutoTokenizer.from_pretrained(
        folder or spec.path, revision=spec.revision, trust_remote_code=spec.trust_remote_code
    )
    if spec.chat_template is not None:
        tokenizer.chat_template = spec.chat_template
    if spec.additional_special_tokens:
        tokenizer.add_tokens(list(spec.additional_special_tokens), special_tokens=True)
    for name, token in (("eos_token", spec.eos_token), ("pad_token", spec.pad_token)):
        if token is None:
            continue
        if token not in tokenizer.get_vocab():
            raise InputError(unknown_token(spec.at, name, token, tokenizer.get_added_vocab()))
        tokenizer.add_special_tokens({name: token})
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_base(spec: ModelSpec, adapter: AdapterSpec, device: Device, folder: str | None = None) -> Base:
    """Load the base model for stages with this adapter setup, quantised with `use_qlora`.

    `folder` loads a full-weights stage folder instead. Raises `InputError` if there is no such model.
    """
    path = folder or spec.path
    refuse_pickles(path, spec.at)
    must_be_loadable(path, spec.revision, spec.at)
    try:
        tokenizer = load_tokenizer(spec, folder)
        options = _loading_options(path, spec, adapter, device)
        # Tensors of another size are reported below by name; transformers only says that there are some.
        model, report = AutoModelForCausalLM.from_pretrained(
            path, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        raise InputError(_cannot_load(path, spec.at, error)) from error
    if told := _incomplete(path, spec.at, report):
        raise InputError(told)
    if adapter.use_qlora:
        _keep_unpacked(model)
    if spec.additional_special_tokens:
        grow(model, max(tokenizer.get_vocab().values()) + 1)
    model.eval()
    _take_special_tokens(model, tokenizer, spec)
    left_out = tuple(sorted(report["unexpected_keys"]))
    return Base(path, model, tokenizer, count_parameters(model), left_out=left_out)


def _take_special_tokens(model: Any, tokenizer: Any, spec: ModelSpec) -> None:
    """Copy the tokenizer's padding and end tokens to the configs used for generation."""
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    if spec.eos_token is not None:
        ids = [tokenizer.eos_token_id, *end_ids(model.generation_config)]
        model.config.get_text_config().eos_token_id = tokenizer.eos_token_id
        model.generation_config.eos_token_id = list(dict.fromkeys(ids))
    stop_at_answer_end(model.generation_config, tokenizer)


def _loading_options(path: str, spec: ModelSpec, adapter: AdapterSpec, device: Device) -> dict[str, Any]:
    config, _ = PretrainedConfig.get_config_dict(path, revision=spec.revision)
    quantised = read_quantised(config)
    default = "auto" if quantised else default_dtype(adapter, device)
    options: dict[str, Any] = {
        "revision": spec.revision,
        "trust_remote_code": spec.trust_remote_code,
        "dtype": DTYPES[spec.dtype or default],
        "device_map": {"": device.place},
        "use_safetensors": True,
    }
    if spec.attn_implementation:
        options["attn_implementation"] = spec.attn_implementation
    if quantised is not None and quantised.method in UNPACKED:
        options["quantization_config"] = UNPACKED[quantised.method](dequantize=True)
    elif adapter.use_qlora and quantised is None:
        options["quantization_config"] = quantization(adapter, device)
    return options


def default_dtype(adapter: AdapterSpec, device: Device) -> str:
    """Return the dtype to load weights in, if the recipe gives none.

    Full fine-tuning keeps float32 master weights, as TRL does: at its learning rates a bf16 weight would not
    change. Frozen weights keep the checkpoint's dtype, except on a CPU, which is slow in bf16.
    """
    return "float32" if device.is_cpu or not adapter.use_lora else "auto"


def quantization(adapter: AdapterSpec, device: Device) -> BitsAndBytesConfig:
    """Return the quantisation config: NF4 with double quantisation unless the recipe sets another.

    Computes in bf16 where that is fast.
    """
    fields = dict(adapter.quantization)
    if not fields.get("load_in_8bit"):
        compute = "float32" if device.is_cpu else "bfloat16"
        fields = NF4 | {"bnb_4bit_compute_dtype": compute} | fields
    return BitsAndBytesConfig(**fields)


def _keep_unpacked(model: torch.nn.Module) -> None:
    # On a CPU with AVX512-BF16 one evaluation pass packs Linear4bit for good, and later LoRA gradients
    # through it are wrong (cosine .34 to the true ones) with a mere UserWarning.
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def is_quantised(parameter: torch.nn.Parameter) -> bool:
    """Return whether bitsandbytes holds a parameter in 4 or 8 bits."""
    return type(parameter).__name__ in ("Params4bit", "Int8Params")


def count_parameters(model: torch.nn.Module) -> int:
    """Count parameters before quantisation: a 4-bit tensor holds two of them per byte."""
    counted = 0
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        counted += state.shape.numel() if state is not None else parameter.numel()
    return counted


def _incomplete(path: str, at: str, report: Mapping[str, Any]) -> Diagnostic | None:
    """Return the error for tensors that transformers initialised at random, by its report; None if none."""
    code, words = "missing-tensors", "the checkpoint does not have"
    names = sorted(report["missing_keys"])
    if mismatched := sorted(report["mismatched_keys"]):
        code, words = "shape-mismatch", "the config asks for another shape of"
        names = [f"{name} ({list(stored)}, not {list(made)})" for name, stored, made in mismatched]
    if not names:
        return None
    return Diagnostic(
        code,
        f"the weights of {path} cannot be trained: {words} {first_of(names, NAMED)}",
        pointer=at,
        hint="fetch the checkpoint again, or correct its config.json",
        notes=("transformers would fill the gap with random numbers",),
    )


def _cannot_load(path: str, at: str, error: Exception) -> Diagnostic:
    return Diagnostic(
        "cannot-load-model",
        f"the model {path} cannot be loaded: {first_line(error)}",
        pointer=at,
        hint='the model brings its own code: "trust_remote_code": true in the recipe, and --allow-code'
        if "trust_remote_code" in str(error)
        else '"model" is a folder with config.json, tokenizer and *.safetensors, or a hub id',
    )
