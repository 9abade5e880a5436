"""Collects the faults that need more than one place of the recipe to see."""

from __future__ import annotations

from dataclasses import dataclass, field

from ptspec.diagnostics import Diagnostic, Severity
from ptspec.recipe.document import Document
from ptspec.recipe.json_pointer import ancestors


@dataclass
class Findings:
    """`known` are the pointers already found faulty: what follows from them is not told again."""

    document: Document
    known: frozenset[str] = frozenset()
    diagnostics: list[Diagnostic] = field(default_factory=list)

    def error(
        self,
        code: str,
        pointer: str,
        message: str,
        hint: str | None = None,
        notes: tuple[str, ...] = (),
        key: bool = False,
    ) -> None:
        """A fault at the value of `pointer`, or at its key."""
        self._add(code, pointer, message, hint, notes, key, Severity.ERROR)

    def warn(self, code: str, pointer: str, message: str, hint: str | None = None, key: bool = False) -> None:
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
        if any(ancestor in self.known for ancestor in ancestors(pointer) if ancestor):
            return
        where = self.document.locate(pointer, key)
        self.diagnostics.append(Diagnostic(code, message, where, pointer, hint, notes, severity))
