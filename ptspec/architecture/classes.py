"""Parse the attributes that the classes of a modeling file create: the candidates of each `self.x = …`.

A condition in the code gives several candidates; the names in a checkpoint choose between them
(`ptspec.architecture.modules`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ptspec.architecture import source
from ptspec.architecture.source import defined, defines_class, imported


@dataclass(frozen=True)
class Library:
    """A class of torch or of transformers' base classes ("Linear", "Conv1D"), or an unknown one ("")."""

    name: str


@dataclass(frozen=True)
class Own:
    """A class that a modeling file defines."""

    file: Path
    name: str


@dataclass(frozen=True)
class Auto:
    """What an auto class opens for the sub-config `config` ("text_config"; "": the config itself)."""

    config: str


@dataclass(frozen=True)
class Items:
    """A ModuleList or Sequential. `each` may stand at any index; `at` at the index of its place."""

    each: frozenset[Node] = frozenset()
    at: tuple[frozenset[Node], ...] = ()


@dataclass(frozen=True)
class Value:
    """A tensor of the module itself; `trains` is False for a buffer."""

    trains: bool


Node = Library | Own | Auto | Items | Value
NOTHING: frozenset[Node] = frozenset()
UNKNOWN: frozenset[Node] = frozenset({Library("")})


def attribute(owner: Own, name: str) -> frozenset[Node]:
    """Return the candidates of attribute `name`, by the class's method resolution order."""
    for one in _line(owner):
        if found := _made(one).get(name):
            return found
    return NOTHING


def attributes(owner: Own) -> list[str]:
    """Return the names of the attributes that a class creates, its own first."""
    return list(dict.fromkeys(name for one in _line(owner) for name in _made(one)))


def opened(owner: Own) -> list[str]:
    """Return the attributes of a class that an auto class creates."""
    names = attributes(owner)
    return [name for name in names if any(isinstance(node, Auto) for node in attribute(owner, name))]


def fields(owner: Own) -> set[str]:
    """Return the fields of a configuration class, including the names in `attribute_map`."""
    renamed = setting(owner, "attribute_map")
    found = {str(name) for name in renamed} if isinstance(renamed, dict) else set()
    for one in _line(owner):
        found |= {_name(node.target) or "" for node in _class(one).body if isinstance(node, ast.AnnAssign)}
    return found


def returns_tuple(owner: Own) -> bool:
    """Return whether the `forward` of a class returns several values."""
    for method in _class(owner).body:
        if isinstance(method, ast.FunctionDef) and method.name == "forward":
            return any(isinstance(n, ast.Return) and isinstance(n.value, ast.Tuple) for n in ast.walk(method))
    return False


def library_base(owner: Own) -> str | None:
    """Return the torch or transformers layer that a class derives from ("Linear"), if it is in LAYERS."""
    for one in _line(owner):
        for base in source.bases(one.file, one.name):
            if (name := _name(base)) in LAYERS:
                return name
    return None


LAYERS = ("Linear", "Conv1D", "Embedding", "Conv1d", "Conv2d", "Conv3d", "LayerNorm", "RMSNorm")


def setting(owner: Own, name: str) -> Any:
    """Return a constant that a class or one of its bases sets (`base_model_prefix = "model"`).

    For a value that is no literal, its name (`config_class = LlamaConfig`, `config: LlamaConfig`); else None.
    """
    for one in _line(owner):
        for node in _class(one).body if source.may_set(one.file, name) else ():
            if isinstance(node, ast.Assign) and _name(node.targets[0]) == name:
                return _constant(node.value)
            if isinstance(node, ast.AnnAssign) and _name(node.target) == name:
                return _constant(node.value) if node.value else _name(node.annotation)
    return None


def _constant(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return _name(node)


def find(file: Path, name: str) -> Own | None:
    """Return the class `name` of a file, defined there or imported from another modeling file."""
    if defines_class(file, name):
        return Own(file, name)
    return _imported(file).get(name)


@cache
def _imported(file: Path) -> Mapping[str, Own]:
    """The classes that a module takes from other modeling files, by the names that it gives them."""
    found: dict[str, Own] = {}
    for node in imported(file):
        other = file.parents[node.level - 1].joinpath(*(node.module or "").split(".")).with_suffix(".py")
        if other.stem.startswith(("modeling_", "configuration_")):
            found.update({alias.asname or alias.name: Own(other, alias.name) for alias in node.names})
    return found


def _class(owner: Own) -> ast.ClassDef:
    node = defined(owner.file, owner.name)
    return node if isinstance(node, ast.ClassDef) else ast.ClassDef(owner.name, [], [], [], [])


def _line(owner: Own) -> Iterator[Own]:
    """Yield a class and its bases in modeling files, nearest first, reading no further than requested."""
    met: set[Own] = set()
    todo = [owner]
    while todo:
        one = todo.pop()
        if one in met:
            continue
        met.add(one)
        yield one
        bases = (find(one.file, _name(base) or "") for base in source.bases(one.file, one.name))
        todo += reversed([base for base in bases if base is not None])


@cache
def _made(owner: Own) -> Mapping[str, frozenset[Node]]:
    found: dict[str, frozenset[Node]] = {}
    for method in _class(owner).body:
        if isinstance(method, ast.FunctionDef):
            for name, nodes in _Method(owner.file, method).attributes():
                found[name] = found.get(name, NOTHING) | nodes
    return found


_REGISTERS = {"register_buffer": Value(False), "register_parameter": Value(True)}


@dataclass(frozen=True)
class _Method:
    """One method; `local`: what its local names were assigned."""

    file: Path
    function: ast.FunctionDef
    local: dict[str, list[ast.expr]] = field(default_factory=dict)

    def attributes(self) -> Iterator[tuple[str, frozenset[Node]]]:
        self.local.update(_locals(self.function))
        for node in ast.walk(self.function):
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    if isinstance(target, ast.Attribute) and _name(target.value) == "self":
                        yield target.attr, self.made(node.value)
            elif isinstance(node, ast.Call) and (registered := _registered(node)):
                yield registered

    def made(self, node: ast.expr, depth: int = 0) -> frozenset[Node]:
        """What an expression makes: modules or tensors; nothing for numbers, texts and the like."""
        if depth > 8:
            return UNKNOWN
        if isinstance(node, ast.IfExp):
            return self.made(node.body, depth + 1) | self.made(node.orelse, depth + 1)
        if isinstance(node, ast.BoolOp):
            return frozenset().union(*(self.made(value, depth + 1) for value in node.values))
        if isinstance(node, ast.Name):
            return frozenset().union(*(self.made(one, depth + 1) for one in self.local.get(node.id, ())))
        return self._called(node, depth + 1) if isinstance(node, ast.Call) else NOTHING

    def _called(self, node: ast.Call, depth: int) -> frozenset[Node]:
        name = _name(node.func)
        if name in ("ModuleList", "Sequential"):
            return frozenset({self._items(node, depth)})
        if name in ("Parameter", "Buffer"):
            return frozenset({Value(name == "Parameter")})
        if name in ("_from_config", "from_config") and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            if (_name(owner) or "").startswith("Auto"):
                return frozenset({Auto(_sub_config(node))})
            return self.classes(owner, depth)
        return self.classes(node.func, depth)

    def _items(self, node: ast.Call, depth: int) -> Items:
        given = node.args[0] if len(node.args) == 1 and _name(node.func) == "ModuleList" else None
        if given is None:
            return Items(at=tuple(self.made(one, depth) for one in node.args))
        return Items(each=self._elements(given, depth))

    def _elements(self, node: ast.expr, depth: int) -> frozenset[Node]:
        if isinstance(node, ast.ListComp | ast.GeneratorExp):
            return self.made(node.elt, depth)
        if isinstance(node, ast.List | ast.Tuple):
            return frozenset().union(*(self.made(one, depth) for one in node.elts))
        if isinstance(node, ast.BinOp):
            return self._elements(node.left, depth) | self._elements(node.right, depth)
        if isinstance(node, ast.Name):
            one_by_one = (self._elements(one, depth + 1) for one in self.local.get(node.id, ()))
            return frozenset().union(*one_by_one)
        return self.made(node, depth)

    def classes(self, node: ast.expr, depth: int) -> frozenset[Node]:
        """The classes that an expression in the place of a function may be."""
        if depth > 8:
            return UNKNOWN
        if isinstance(node, ast.IfExp):
            return self.classes(node.body, depth + 1) | self.classes(node.orelse, depth + 1)
        if isinstance(node, ast.Subscript):
            return self._entries(node.value, depth + 1)
        if isinstance(node, ast.Attribute):
            return frozenset({Library(node.attr)})
        if not isinstance(node, ast.Name):
            return UNKNOWN
        if node.id in self.local:
            return frozenset().union(*(self.classes(one, depth + 1) for one in self.local[node.id]))
        found = find(self.file, node.id)
        return frozenset({found if found is not None else Library(node.id)})

    def _entries(self, node: ast.expr, depth: int) -> frozenset[Node]:
        """The classes in a table of them: `MIXERS = {"mamba": …}`."""
        given = defined(self.file, node.id) if isinstance(node, ast.Name) else None
        table = given.value if isinstance(given, ast.Assign) else None
        if not isinstance(table, ast.Dict):
            return UNKNOWN
        return frozenset().union(*(self.classes(value, depth) for value in table.values))


def _registered(node: ast.Call) -> tuple[str, frozenset[Node]] | None:
    """What `self.register_buffer("name", …)` makes."""
    kind = _REGISTERS.get(_name(node.func) or "")
    name = node.args[0] if node.args else None
    return (str(name.value), frozenset({kind})) if kind and isinstance(name, ast.Constant) else None


def _locals(function: ast.FunctionDef) -> dict[str, list[ast.expr]]:
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
        elif isinstance(node, ast.Call) and _name(node.func) == "append" and node.args:
            owner = node.func.value if isinstance(node.func, ast.Attribute) else None
            if isinstance(owner, ast.Name):
                found.setdefault(owner.id, []).append(node.args[0])
    return found


def _sub_config(node: ast.Call) -> str:
    given = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "config")]
    name = given[0].attr if given and isinstance(given[0], ast.Attribute) else ""
    return "" if name == "config" else name


def _name(node: ast.expr | None) -> str | None:
    """The last part of a dotted name."""
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else None
