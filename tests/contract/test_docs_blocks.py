"""What the pages show works: recipes are valid, commands and options exist, links lead somewhere."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

from ptspec.cli import COMMANDS, _app
from ptspec.recipe.resolve import read_recipe

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCED = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`([^`\n]+)`")
BEFORE = r"(?:\$ |next +|(?:.* )?torchrun .*?|srun .*?|(?:\w+=\S+ )+)?"
COMMAND = re.compile(rf"^{BEFORE}(pt +[a-z].*)$")
AFTER = re.compile(r"\s#|[|>;&…]")
LINK = re.compile(r"\]\(([^)\s:]*)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Code:
    """A piece of code on a page, and the line that it begins on."""

    page: Path
    line: int
    text: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def read(page: Path) -> str:
    return page.read_text("utf-8")


def without_blocks(text: str) -> str:
    return FENCED.sub(lambda found: "\n" * found[0].count("\n"), text)


def code_of(page: Path) -> Iterator[Code]:
    """Fenced blocks, indented lines, and code within a line."""
    text = read(page)
    for found in FENCED.finditer(text):
        yield Code(page, text[: found.start()].count("\n") + 2, found[3])
    for number, line in enumerate(without_blocks(text).splitlines(), 1):
        if line.startswith("    "):
            yield Code(page, number, line)
        for code in CODE.finditer(line):
            yield Code(page, number, code[1])


# The changelog may tell of what is gone since.
ALL = [code for page in PAGES if page.name != "CHANGELOG.md" for code in code_of(page)]


def recipes() -> Iterator[tuple[Code, dict]]:
    """Blocks that are a recipe, or the keys of one."""
    for code in ALL:
        for text in (code.text, "{" + code.text + "}"):
            try:
                value = json.loads(text)
            except ValueError:
                continue
            if isinstance(value, dict) and "stages" in value:
                yield code, value


def commands() -> Iterator[tuple[Code, str]]:
    """Each command line of pt, without comments and what it is piped into."""
    for code in ALL:
        for line in re.sub(r"\\\n *", " ", code.text).splitlines():
            if found := COMMAND.match(line.strip()):
                yield code, AFTER.split(found[1])[0].strip()


RECIPES, COMMANDS_SHOWN = list(recipes()), list(commands())


def test_recipes_and_commands_are_found():
    assert len(RECIPES) >= 3
    assert len(COMMANDS_SHOWN) >= 200


@pytest.mark.parametrize(("code", "recipe"), RECIPES, ids=[code.name for code, _ in RECIPES])
def test_a_recipe_on_a_page_is_valid(code, recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    text = code.text if "model" in recipe else json.dumps({"model": "someone/model", **recipe})
    # The files that a page speaks of: schema and rules look at names, not into them.
    for name in re.findall(r'"path": "([^":*]+)"', text):
        file = tmp_path / (name if "." in name else f"{name}/rows.parquet")
        if "/" not in name or name.startswith("data/"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    reading = read_recipe(tmp_path / "recipe.json", text=text)
    assert [str(error) for error in reading.errors] == []


@pytest.mark.parametrize(
    ("code", "line"), COMMANDS_SHOWN, ids=[f"{code.name} {line}" for code, line in COMMANDS_SHOWN]
)
def test_a_command_on_a_page_exists_with_its_options(code, line):
    name, *typed = shlex.split(line)[1:]
    assert name in COMMANDS
    command = typer.main.get_command(_app([name])).commands[name]
    takes = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
    given = {word.partition("=")[0] for word in typed if re.match(r"--?[a-z]", word)}
    assert given <= takes | {"--help", "-h"}


def anchors(page: Path) -> set[str]:
    """Of the headings of `page`, as GitHub makes them, and MkDocs with the slugs of mkdocs.yml."""
    plain = (
        re.sub(r"[^\w\- ]", "", one.lower().strip()) for one in HEADING.findall(without_blocks(read(page)))
    )
    return {one.replace(" ", "-") for one in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading_of_it(page):
    text = CODE.sub("", without_blocks(read(page)))
    for link in LINK.findall(text):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or target.suffix != ".md" or anchor in anchors(target), link
