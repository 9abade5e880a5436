"""A recipe file as JSON with the location of every key and value, independent of its meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.recipe.json_pointer import Lines, Span, ancestors, at
from ptspec.recipe.scanner import Scanner


@dataclass(frozen=True)
class Document:
    """A JSON value with source locations.

    `faults`: errors after which the scanner continued (a duplicate key, a NaN). `overlay`: locations of
    values that are not from the file: pointer -> (key's, value's).
    """

    value: Any
    lines: Lines
    values: Mapping[str, Span]
    keys: Mapping[str, Span]
    faults: tuple[Diagnostic, ...] = ()
    overlay: Mapping[str, tuple[Location, Location]] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """The file's name."""
        return self.lines.file

    def locate(self, pointer: str, key: bool = False) -> Location:
        """Return the location of the value at `pointer` (or its key), or of the nearest enclosing one."""
        for ancestor in ancestors(pointer):
            if ancestor in self.overlay:
                return self.overlay[ancestor][0 if key and ancestor == pointer else 1]
        for ancestor in ancestors(pointer):
            if key and ancestor == pointer and ancestor in self.keys:
                return self.lines.locate(self.keys[ancestor])
            if ancestor in self.values:
                return self.lines.locate(self._underlined(ancestor))
        return Location(self.file)

    def within(self, pointer: str) -> Document:
        """Return the object at `pointer` as a document, with locations in this file."""

        def below(spans: Mapping[str, Span]) -> dict[str, Span]:
            return {
                name.removeprefix(pointer): span
                for name, span in spans.items()
                if name == pointer or name.startswith(f"{pointer}/")
            }

        return Document(at(self.value, pointer), self.lines, below(self.values), below(self.keys))

    def _underlined(self, pointer: str) -> Span:
        """Return the span to underline; of an object or list its bracket."""
        span = self.values[pointer]
        container = isinstance(at(self.value, pointer), dict | list)
        return Span(span.start, span.start + 1) if container else span


def read_document(path: Path) -> Document:
    """Read a recipe file. Raises `InputError` if it cannot be read or is not a JSON object."""
    file = str(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        _refuse("no-such-file", "no such file", Location(file), _nearest_file(path))
    except IsADirectoryError:
        _refuse("no-such-file", "this is a folder, not a recipe file", Location(file))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        _refuse("no-such-file", f"cannot be read: {reason}", Location(file))
    return parse(_decode(data, file), file)


def parse(text: str, file: str) -> Document:
    """Parse `text` as a recipe. Raises `InputError` if it is not a JSON object."""
    if not text.strip():
        _refuse("empty-file", "the file is empty", Location(file), "pt init writes a recipe to start from")
    scanner = Scanner(text, file)
    value = scanner.read()
    document = Document(value, scanner.lines, scanner.values, scanner.keys, tuple(scanner.faults))
    if not isinstance(value, dict):
        message = f"a recipe is a JSON object {{…}}, not {_kind(value)}"
        _refuse("not-an-object", message, document.locate(""))
    return document


def _refuse(code: str, message: str, where: Location, hint: str | None = None) -> NoReturn:
    raise InputError(Diagnostic(code, message, where, "", hint)) from None


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return "a list" if isinstance(value, list) else "a string" if isinstance(value, str) else "a number"


def _nearest_file(path: Path) -> str | None:
    try:
        stems = [found.stem for found in path.parent.iterdir() if found.suffix == ".json"]
    except OSError:
        return None
    close = get_close_matches(path.stem, stems, 1)
    return f"did you mean {path.parent / close[0]}.json?" if close else None


def _decode(data: bytes, file: str) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        _refuse("not-utf8", "the file is UTF-16; a recipe is UTF-8", Location(file), "save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        place = Lines(before, file).locate(Span(len(before), len(before)))
        message = f"byte {error.start + 1} of the file (0x{data[error.start]:02x}) is not UTF-8"
        where = Location(file, place.line, place.column)
        _refuse("not-utf8", message, where, "save the file as UTF-8")
    raise AssertionError("utf-8 and utf-8-sig disagree")
