"""Collect diagnostics of checks that span several places of the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ptspec.diagnostics import Diagnostic, Location, Severity
from ptspec.recipe.document import Document
from ptspec.recipe.json_pointer import ancestors, at, join, split


@dataclass
class Findings:
    """Diagnostics of a document; `known`: pointers with errors, whose consequences are not reported.

    `origins`: document pointers of derived nodes, such as the stages of a matrix; `renamed`: by the pointer
    of such a stage, its name and that in the recipe.
    """

    document: Document
    known: frozenset[str] = frozenset()
    diagnostics: list[Diagnostic] = field(default_factory=list)
    origins: Mapping[str, str] = field(default_factory=dict)
    renamed: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def origin(self, pointer: str) -> str:
        """Return the document pointer of a derived `pointer`."""
        if not self.origins:
            return pointer
        above = next((one for one in ancestors(pointer) if one in self.origins), None)
        return pointer if above is None else self.origins[above] + pointer.removeprefix(above)

    def locate(self, pointer: str) -> Location:
        """Return the location of `pointer` in the file."""
        return self.document.locate(self.origin(pointer))

    def given(self, pointer: str) -> Any:
        """Return the document's value at `pointer`; None if there is none."""
        return at(self.document.value, self.origin(pointer))

    def error(
        self,
        code: str,
        pointer: str,
        message: str,
        hint: str | None = None,
        notes: tuple[str, ...] = (),
        key: bool = False,
    ) -> None:
        """Add an error at the value of `pointer`, or at its key."""
        self._add(code, pointer, message, hint, notes, key, Severity.ERROR)

    def warn(self, code: str, pointer: str, message: str, hint: str | None = None, key: bool = False) -> None:
        """Add a warning at the value of `pointer`, or at its key."""
        self._add(code, pointer, message, hint, (), key, Severity.WARNING)

    def _add(
        self,
        code: str,
        pointer: str,
        message: str,
        hint: str | None,
        notes: tuple[str, ...],
        key: bool,
        severity: Severity,
    ) -> None:
        message, hint = self._as_in_recipe(pointer, message), hint and self._as_in_recipe(pointer, hint)
        pointer = self.origin(pointer)
        if any(ancestor in self.known for ancestor in ancestors(pointer) if ancestor):
            return
        where = self.document.locate(pointer, key)
        self.diagnostics.append(Diagnostic(code, message, where, pointer, hint, notes, severity))

    def _as_in_recipe(self, pointer: str, text: str) -> str:
        """Return a message about a variant with its stage's name in the recipe, for all variants at once."""
        made, name = self.renamed.get(join("", *split(pointer)[:2]), ("", ""))
        return text.replace(f'"{made}"', f'"{name}"') if made else text
