"""Read from transformers' source which quantisation methods can be trained over."""

from __future__ import annotations

import ast

from ptspec.architecture.source import library_file, parsed

_AUTO = "quantizers/auto.py"


def is_trainable(method: str) -> bool | None:
    """Return whether adapters train over weights quantised by `method`; None if unknown or conditional."""
    tree = parsed(library_file("transformers", _AUTO))
    if tree is None:
        return None
    files = {
        alias.name: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 1
        for alias in node.names
    }
    name = _class_of(tree, method)
    source = parsed(library_file("transformers", f"quantizers/{files.get(name)}.py"))
    for node in source.body if source else ():
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _returned(node)
    return None


def _class_of(tree: ast.Module, method: str) -> str:
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                is_it = isinstance(key, ast.Constant) and key.value == method
                if is_it and isinstance(value, ast.Name) and value.id.endswith("uantizer"):
                    return value.id
    return ""


def _returned(node: ast.ClassDef) -> bool | None:
    """The constant that the property `is_trainable` returns."""
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and method.name == "is_trainable":
            last = method.body[-1]
            value = last.value if isinstance(last, ast.Return) else None
            given = value.value if isinstance(value, ast.Constant) else None
            return given if isinstance(given, bool) else None
    return None
