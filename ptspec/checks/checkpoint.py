"""Check a base model's weights against its config: what transformers would initialise at random or ignore.

Reads config.json and the headers of the weights; `ptspec.model.base` asks transformers itself when loading.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from ptspec.architecture.modules import Kind, Modules
from ptspec.architecture.opened import LAYER
from ptspec.diagnostics import Diagnostic, Severity
from ptspec.recipe.hints import bytes_in_words
from ptspec.recipe.shape import TOKEN_EMBEDDINGS, ModelShape, parts_of

OTHER_SENSES = ("vision_config", "audio_config")
"""Parts of a config whose modules process no text."""
SMALL = 0.001
"""Share of a checkpoint from which unused tensors are reported; less is a recomputed table."""


def check_checkpoint(shape: ModelShape, at: str) -> Iterator[Diagnostic]:
    """Yield errors of a checkpoint, at the pointer `at`; none if the model's source is not understood."""
    if shape.modules is None:
        return
    missing = [*_layers(shape, shape.modules), *_head(shape, shape.modules)]
    if missing:
        message, more = f"the weights are not whole: {missing[0]}", tuple(missing[1:3])
        hint = "fetch the checkpoint again: transformers would fill the gap with random numbers"
        yield Diagnostic("missing-tensors", message, None, at, hint, more)
    for words in _embeddings(shape, shape.modules):
        message = f"the weights contradict the config: {words}"
        hint = "config.json and the weights are of different models, or one of them was changed"
        yield Diagnostic("shape-mismatch", message, None, at, hint)
    left_out = sum(tensor.bytes for tensor in shape.left_out.values())
    if left_out > SMALL * sum(tensor.bytes for tensor in shape.tensors.values()):
        yield _left_out(shape, left_out, at)
    yield from _idle(shape, shape.modules, at)


def _layers(shape: ModelShape, modules: Modules) -> Iterator[str]:
    """Yield layers that are missing, or lack tensors that every other layer of their kind has."""
    stacks: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name in (*shape.tensors, *shape.buffers):
        if layer := LAYER.match(name):
            stacks[layer["stack"]][int(layer["index"])].add(layer["rest"])
    for stack, layers in stacks.items():
        count = modules.layers(stack)
        if count is None:
            continue
        if gone := [index for index in range(count) if index not in layers]:
            yield f"the config has {count} layers, and {stack}.{gone[0]} is not there ({len(gone)} are not)"
        yield from _unlike(stack, layers, _kinds(shape, count))


def _kinds(shape: ModelShape, count: int) -> Sequence[str]:
    given = shape.config.get("layer_types") or shape.config.get("layers_block_type")
    return given if isinstance(given, list) and len(given) == count else [""] * count


def _unlike(stack: str, layers: Mapping[int, set[str]], kinds: Sequence[str]) -> Iterator[str]:
    """Return layers with fewer tensors than all others of their kind.

    A layer that has other tensors instead is of another kind: a dense layer among mixtures of experts.
    """
    for index, names in layers.items():
        others = [layers[i] for i in layers if i != index and kinds[i] == kinds[index]]
        lacking = set.intersection(*others) - names if len(others) > 1 else set()
        if lacking and any(names < other for other in others):
            first = sorted(lacking)[0]
            yield f"{stack}.{index} lacks {first}, which every other layer has ({len(lacking)} are lacking)"


def _head(shape: ModelShape, modules: Modules) -> Iterator[str]:
    """Yield an error for an output head that is neither stored nor tied."""
    pairs = modules.setting("_tied_weights_keys")
    for head, embedding in pairs.items() if isinstance(pairs, dict) else ():
        if head not in modules.tied and embedding in shape.tensors and head not in shape.tensors:
            yield f'"tie_word_embeddings" is false, and there is no {head}'


def _embeddings(shape: ModelShape, modules: Modules) -> Iterator[str]:
    """Yield embeddings of another size than in the config."""
    for name, tensor in shape.matrices.items():
        if name.rpartition(".")[2] not in TOKEN_EMBEDDINGS or modules.kind(name) is not Kind.EMBEDDING:
            continue
        rows, columns = tensor.shape
        if shape.vocabulary and rows != shape.vocabulary:
            yield f"{name} has {rows:,} rows, and the config's vocab_size is {shape.vocabulary:,}"
        elif columns != (shape.number("word_embed_proj_dim", "embedding_size") or shape.hidden or columns):
            yield f"{name} is {columns:,} wide, and the config's hidden_size is {shape.hidden:,}"


def _left_out(shape: ModelShape, size: int, at: str) -> Diagnostic:
    """Yield tensors that transformers does not load."""
    parts = ", ".join(parts_of(shape.left_out)[:3])
    message = (
        f"{len(shape.left_out)} tensors of the checkpoint ({bytes_in_words(size)}) are left out: {parts}"
    )
    is_text = shape.modules is not None and shape.modules.is_text_alone
    hint = "the language model alone is trained, evaluated and exported" if is_text else None
    return Diagnostic("left-out", message, None, at, hint, severity=Severity.WARNING)


def _idle(shape: ModelShape, modules: Modules, at: str) -> Iterator[Diagnostic]:
    """Yield parts that are loaded and process no text: vision and audio towers."""
    idle = {name: t for name, t in shape.tensors.items() if modules.sub_config(name) in OTHER_SENSES}
    if idle:
        parts = parts_of(idle)
        count = sum(tensor.elements for tensor in idle.values())
        message = (
            f"no text passes through {', '.join(parts[:3])} ({count:,} parameters): nothing is learned there"
        )
        hint = f'"exclude_modules": ".*{parts[0].rpartition(".")[2]}.*" keeps an adapter off it'
        yield Diagnostic("left-out", message, None, at, hint, severity=Severity.WARNING)
