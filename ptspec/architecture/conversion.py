"""How transformers renames, joins and splits the tensors of a checkpoint while loading it.

transformers 5.23, `conversion_mapping.py` and `core_model_loading.py`: renamings apply one after another,
then at most one converter, then `base_model_prefix` is added or removed. The mapping is transformers' own:
the function that builds it is executed with records in place of the classes, so that nothing is imported.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from ptspec.architecture.modules import Modules
from ptspec.architecture.source import library_file, parsed

Shape = tuple[int, ...]

_FILE = "conversion_mapping.py"
_PATTERNS = "_MODEL_TO_CONVERSION_PATTERN"
_BUILD = "_build_checkpoint_conversion_mapping"


class NotConvertible(ValueError):
    """A conversion whose result does not follow from shapes alone, and why."""


@dataclass(frozen=True)
class Operation:
    """A step of a conversion ("MergeModulelist"), as in the mapping."""

    name: str
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def number(self, option: str, position: int = 0, default: int = 0) -> int:
        """Return an integer argument, given by name or position, else `default`."""
        given = self.arguments[position] if position < len(self.arguments) else default
        return int(self.options.get(option, given))


class Transform:
    """A renaming, or with `operations` a conversion, from `sources` (regular expressions) to `targets`."""

    def __init__(
        self,
        source_patterns: str | list[str],
        target_patterns: str | list[str],
        operations: Sequence[Operation] = (),
        **_: Any,
    ) -> None:
        self.source_patterns = [source_patterns] if isinstance(source_patterns, str) else source_patterns
        given = [target_patterns] if isinstance(target_patterns, str) else target_patterns
        self.target_patterns = given
        self.operations = tuple(operations)
        self.scope: tuple[str, ...] = ("",)

    def within(self, scope: tuple[str, ...]) -> Transform:
        """Return this transform for names with the first matching of these prefixes."""
        scoped = copy(self)
        scoped.scope = scope
        return scoped

    @cached_property
    def targets(self) -> list[str]:
        r"""Replacement strings without "^", look-aheads and escapes; a group, for the way back, is `\1`."""
        return [_replacement(pattern) for pattern in self.target_patterns]

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        longest_first = sorted(enumerate(self.source_patterns), key=lambda item: -len(item[1]))
        return re.compile("|".join(f"(?P<g{i}>{self._source(i, pattern)})" for i, pattern in longest_first))

    def _source(self, index: int, pattern: str) -> str:
        pairs = len(self.source_patterns) == len(self.target_patterns)
        if pairs and self.target_patterns[index].startswith("^") and not pattern.startswith("^"):
            pattern = f"^{pattern}"
        pattern = pattern.replace("*.", r".*\.")
        return pattern + r"(?!\w)" if re.search(r"[a-zA-Z0-9]$", pattern) else pattern

    def rename(self, name: str) -> tuple[str, int | None]:
        """Return the new name, and the index of the source that matched (None: none)."""
        scope = next((prefix for prefix in self.scope if name.startswith(prefix)), None)
        match = self._expression.search(name.removeprefix(scope)) if scope is not None else None
        if match is None or scope is None:
            return name, None
        group = next(key for key, value in match.groupdict().items() if value is not None)
        replacement = self.targets[0]
        if r"\1" in replacement:
            replacement = replacement.replace(r"\1", match.group(self._expression.groupindex[group] + 1))
        return scope + match.string.replace(match.group(0), replacement, 1), int(group[1:])


class PrefixChange(Transform):
    """Removes a prefix from a name, or adds one."""

    def __init__(
        self,
        prefix_to_add: str | None = None,
        prefix_to_remove: str | None = None,
        model_prefix: str | None = None,
    ) -> None:
        before = rf"{model_prefix}\." if model_prefix else ""
        if prefix_to_add is not None:
            source = rf"^{before}(?:(?!{prefix_to_add}\.))(.+)"
            super().__init__(source, rf"{before}{prefix_to_add}\.\1")
        else:
            super().__init__(rf"^{before}{prefix_to_remove}\.(.+)", rf"{before}\1")


def transforms(modules: Modules) -> Iterator[Transform]:
    """Yield the transforms of a model, then those of nested models, each limited to its prefix."""
    found = _mapping()
    for scope, class_name, model_type in modules.models():
        own = found.get(class_name, found.get(model_type, ()))
        below = f"{scope}." if scope else ""
        short = below.removeprefix(f"{modules.prefix}.")
        yield from (step.within((below, short) if scope else ("",)) for step in own)
    yield from found.get("legacy", ())


def converted(shapes: Mapping[str, Shape], modules: Modules) -> Mapping[str, tuple[Shape, tuple[str, ...]]]:
    """Return the model's tensors: name -> shape, and the checkpoint names that it is made of.

    In the order of the checkpoint. Raises `NotConvertible`.
    """
    steps = list(transforms(modules))
    renamings = [step for step in steps if not step.operations]
    converters = [step for step in steps if step.operations]
    collected: dict[str, tuple[Transform | None, dict[int, list[str]]]] = {}
    for name in sorted(shapes, key=_natural):
        new = name
        for renaming in renamings:
            new, _ = renaming.rename(new)
        converter, source = None, 0
        for one in converters:
            new, matched = one.rename(new)
            if matched is not None:
                converter, source = one, matched
                break
        new = _with_prefix(new, modules)
        collected.setdefault(new, (converter, {}))[1].setdefault(source, []).append(name)
    made: dict[str, tuple[Shape, tuple[str, ...]]] = {}
    for name, (converter, sources) in collected.items():
        names = tuple(one for group in sources.values() for one in group)
        made.update({new: (shape, names) for new, shape in _shapes(name, converter, sources, shapes)})
    order = {name: place for place, name in enumerate(shapes)}
    return dict(sorted(made.items(), key=lambda item: order[item[1][1][0]]))


def _with_prefix(name: str, modules: Modules) -> str:
    """Return the name with or without `base_model_prefix`, whichever the model has."""
    prefix = f"{modules.prefix}."
    if name.startswith(prefix) and modules.has_tensor(name.removeprefix(prefix)):
        return name.removeprefix(prefix)
    return prefix + name if modules.has_tensor(prefix + name) else name


def _shapes(
    name: str, converter: Transform | None, sources: Mapping[int, list[str]], shapes: Mapping[str, Shape]
) -> Iterator[tuple[str, Shape]]:
    if converter is None:
        yield name, shapes[sources[0][0]]
        return
    parts = [[shapes[one] for one in sources[index]] for index in sorted(sources)]
    for operation in converter.operations:
        parts = _applied(operation, parts, len(converter.targets))
    for target, part in zip(converter.targets, parts, strict=False):
        yield name.replace(converter.targets[0], target), part[0]


def _applied(operation: Operation, parts: list[list[Shape]], targets: int) -> list[list[Shape]]:
    """Return the shapes after an operation. `parts`: those of each source, then of each target."""
    first = parts[0][0]
    if operation.name in ("Interleave", "PermuteForRope"):
        return parts
    if operation.name == "MergeModulelist":
        dim = operation.number("dim")
        return [[(*part[0][:dim], len(part), *part[0][dim:])] for part in parts]
    if operation.name == "Concatenate":
        dim = operation.number("dim")
        total = sum(shape[dim] for part in parts for shape in part)
        return [[(*first[:dim], total, *first[dim + 1 :])]]
    if operation.name == "Chunk":
        dim = operation.number("dim")
        return [[(*first[:dim], first[dim] // targets, *first[dim + 1 :])]] * targets
    if operation.name == "Transpose" and not operation.options.get("check_dims"):
        one, other = operation.number("dim0"), operation.number("dim1", 1, 1)
        swapped = list(first)
        swapped[one], swapped[other] = swapped[other], swapped[one]
        return [[tuple(swapped)]]
    raise NotConvertible(f"transformers' {operation.name} is not followed here")


def _replacement(pattern: str) -> str:
    pattern = re.sub(r"\(\?.+?\)?\)", "", pattern.removeprefix("^"))
    if group := re.search(r"\(.+?\)", pattern):
        pattern = pattern.replace(group.group(0), r"\1", 1)
    return pattern.replace(r"\.", ".")


def _natural(name: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in name.split(".")]


@cache
def _mapping() -> Mapping[str, Sequence[Transform]]:
    """Return transformers' conversion mapping as records; {} if it is not built as in 5.23."""
    tree = parsed(library_file("transformers", _FILE))
    wanted = [node for node in tree.body if _defines(node)] if tree else []
    if tree is None or not wanted:
        return {}
    names = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    scope: dict[str, Any] = {name: _operation(name) for name in names}
    for name in ("WeightRenaming", "WeightConverter", "GroupWeightRename", "Inkling2IndexOffsetWeightRename"):
        scope[name] = Transform
    scope["PrefixChange"] = PrefixChange
    exec(compile(ast.Module(wanted, []), _FILE, "exec"), scope)  # the installed library's own function
    found: Mapping[str, Sequence[Transform]] = scope[_BUILD]()
    return found


def _defines(node: ast.stmt) -> bool:
    if isinstance(node, ast.FunctionDef):
        return node.name == _BUILD
    return isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == _PATTERNS


def _operation(name: str) -> Callable[..., Operation]:
    return lambda *arguments, **options: Operation(name, arguments, options)
