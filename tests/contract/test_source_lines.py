"""Classes and constants that are read from a few lines of a module are those of the whole module."""

import ast

import pytest

from ptspec.architecture import classes, source

FOLDER = source.folder_of("transformers")
FILES = [
    *sorted(FOLDER.glob("modeling_*.py")),
    *sorted(FOLDER.glob("configuration_*.py")),
    *(
        FOLDER / f"models/{name}/{kind}_{name}.py"
        for name in ("fsmt", "jamba", "llama", "nemotron_h", "qwen3", "tapas", "zamba2")
        for kind in ("modeling", "configuration")
    ),
]


def told(node):
    """A class without its decorators, which are not read."""
    if isinstance(node, ast.ClassDef):
        node = ast.ClassDef(node.name, node.bases, node.keywords, node.body, [])
    return ast.dump(node) if node is not None else None


@pytest.mark.parametrize("file", FILES, ids=lambda one: one.stem)
def test_lines_say_what_the_module_says(file):
    found = {}
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node
    for name, node in found.items():
        assert told(source.defined(file, name)) == told(node), name
        assert source.defines_class(file, name) == isinstance(node, ast.ClassDef)
        bases = node.bases if isinstance(node, ast.ClassDef) else []
        assert [ast.dump(one) for one in source.bases(file, name)] == [ast.dump(one) for one in bases], name
    assert source.defined(file, "NoSuchName") is None


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("models/auto/auto_mappings.py", "CONFIG_MAPPING_NAMES"),
        ("models/auto/auto_mappings.py", "SPECIAL_MODEL_TYPE_TO_MODULE_NAME"),
        ("models/auto/modeling_auto.py", "MODEL_MAPPING_NAMES"),
        ("models/auto/modeling_auto.py", "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"),
    ],
)
def test_an_entry_is_that_of_the_whole_table(name, variable):
    whole = source.table("transformers", name, variable)
    assert len(whole) > 50
    assert {key: source.entry("transformers", name, variable, key) for key in whole} == whole
    assert source.entry("transformers", name, variable, "no such type") is None


def test_an_entry_is_no_part_of_another_and_the_last_of_its_name(tmp_path, monkeypatch):
    (tmp_path / "tables.py").write_text(
        'PAIRS = OrderedDict(\n    [\n        ("a", "One"),\n        (\n            "b",\n            (\n'
        '                "c",\n                "Two",\n            ),\n        ),\n        # ("d", "No"),\n'
        '        ("a", "Four"),\n    ]\n)\nPLAIN = {\n    "a": "Five",\n}\n'
    )
    monkeypatch.setattr(source, "folder_of", lambda package: tmp_path)
    found = {key: source.entry("entries of a test", "tables.py", "PAIRS", key) for key in "abcd"}
    assert found == {"a": "Four", "b": ("c", "Two"), "c": None, "d": None}
    assert source.entry("entries of a test", "tables.py", "PLAIN", "a") == "Five"


def test_a_string_that_looks_like_code_hides_nothing(tmp_path):
    file = tmp_path / "modeling_x.py"
    file.write_text(
        "from .modeling_y import (\n    One,  # a comment\n    Two as Three,\n)\n\n"
        'class A(One):\n    """\nclass B:\n    no\nX = 1\n"""\n\n    size = 4\n\n\n'
        "class B(Three):\n    def f(\n        self,\n    ):\n        return 1\n\n\n"
        '"""A string."""\nX = {"a": A}\n'
    )
    assert [one.id for one in source.defined(file, "B").bases] == ["Three"]
    assert isinstance(source.defined(file, "X").value, ast.Dict)
    assert classes.setting(classes.Own(file, "A"), "size") == 4
    assert classes.find(file, "Three") == classes.Own(tmp_path / "modeling_y.py", "Two")
    assert [one.name for one in classes._line(classes.Own(file, "A"))] == ["A", "One"]
