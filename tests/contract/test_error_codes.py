"""Every error code of the source has its text in `codes.md`, and every text there is of such a code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.small import ROOT, pt

import ptspec
from ptspec.explain.texts import by_topic, explanations

FILES = {
    path: ast.parse(path.read_text("utf-8")) for path in sorted(Path(ptspec.__file__).parent.rglob("*.py"))
}
SAID = re.compile(r"\b(?:error|warning)\[([a-z0-9-]+)\]")


def takers() -> dict[str, set[int]]:
    """The functions and classes that take a code: the name, and at which places of the call it stands."""
    found: dict[str, set[int]] = {}
    for tree in FILES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                names = [one.arg for one in node.args.args if one.arg not in ("self", "cls")]
                if "code" in names:
                    found.setdefault(node.name, set()).add(names.index("code"))
            elif isinstance(node, ast.ClassDef):
                fields = [
                    n.target.id
                    for n in node.body
                    if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
                ]
                if "code" in fields:
                    found.setdefault(node.name, set()).add(fields.index("code"))
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
                        names = [one.arg for one in inner.args.args[1:]]
                        if "code" in names:
                            found.setdefault(node.name, set()).add(names.index("code"))
    for name in ("show", "explain", "exit", "__init__"):  # an exit code, or the one that is asked for
        found.pop(name, None)
    return found


def given() -> Iterator[tuple[ast.expr, ast.AST, str]]:
    """Each expression in the place of a code, with what surrounds it, and where."""
    known = takers()
    for path, tree in FILES.items():
        for around in ast.walk(tree):
            if not isinstance(around, ast.FunctionDef | ast.Module):
                continue
            for node in ast.walk(around):
                if isinstance(node, ast.Call):
                    name = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
                    places = known.get(str(name), set())
                    values = [node.args[place] for place in places if place < len(node.args)]
                    values += [
                        k.value for k in node.keywords if k.arg == "code" and name in (*known, "replace")
                    ]
                    for value in values:
                        yield value, around, f"{path.name}:{node.lineno}"


def codes(value: ast.expr, around: ast.AST) -> Iterator[str]:
    """What `value` can be: a text, each of several, one that is put together (as a pattern), or what a name
    of this function or module was given."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield re.escape(value.value)
    elif isinstance(value, ast.IfExp):
        yield from (*codes(value.body, around), *codes(value.orelse, around))
    elif isinstance(value, ast.JoinedStr):
        parts = (
            re.escape(str(p.value)) if isinstance(p, ast.Constant) else "[a-z0-9-]+" for p in value.values
        )
        yield "".join(parts)
    elif isinstance(value, ast.Name):
        for node in ast.walk(around):
            if isinstance(node, ast.Assign) and any(getattr(t, "id", None) == value.id for t in node.targets):
                yield from codes(node.value, ast.Module([], []))


def told() -> set[str]:
    """Patterns of all codes in the source."""
    found = {code for value, around, _ in given() for code in codes(value, around)}
    found |= {code for path in FILES for code in SAID.findall(path.read_text("utf-8"))}
    return {code for code in found if re.fullmatch(r"[a-z\[][^ .]*", code)}


TOLD = told()
LITERAL = {re.sub(r"\\(.)", r"\1", code) for code in TOLD if "[" not in code}
PATTERNS = [re.compile(code) for code in TOLD if "[" in code]


def test_every_code_has_a_text():
    assert len(LITERAL) > 180
    assert LITERAL - explanations().keys() - NOT_CODES == set()
    for pattern in PATTERNS:
        assert any(pattern.fullmatch(code) for code in explanations()), pattern.pattern


def test_every_text_is_of_a_code():
    left = [code for code in explanations() if code not in LITERAL]
    assert [code for code in left if not any(pattern.fullmatch(code) for pattern in PATTERNS)] == []
    assert NOT_CODES <= LITERAL


NOT_CODES = {"endpoint", "loss", "template"}
"""Words in the place of a code of functions that are called like those that take one."""


def test_each_text_says_what_it_is_and_no_more():
    for one in explanations().values():
        assert one.topic and 30 < len(one.text) < 500, one.code
        assert one.text.endswith((".", "`.")), one.code
    assert sum(map(len, by_topic().values())) == len(explanations())


def test_the_codes_of_every_expected_text_are_explained():
    shown = {
        code
        for file in (ROOT / "tests" / "bad_recipes").glob("*/expected.txt")
        for code in SAID.findall(file.read_text())
    }
    assert shown <= explanations().keys()


@pytest.mark.parametrize(
    "asked", ["unknown-key", "error[unknown-key]", "recipe.json:3:4: error[unknown-key]: …"]
)
def test_explain(here, asked):
    done = here("explain", asked)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.startswith("unknown-key · Keys and values\n\nNo such key belongs here.")


def test_explain_lists_them_and_suggests_a_near_one(here):
    listed = here("explain").stdout
    assert all(re.search(rf"\b{code}\b", listed) for code in explanations())
    done = here("explain", "unknwn-key")
    assert (done.code, 'did you mean "unknown-key"?' in done.stderr) == (2, True)


def test_it_is_in_the_package():
    assert pt("explain", "bug", cwd=ROOT / "tests").code == 0
