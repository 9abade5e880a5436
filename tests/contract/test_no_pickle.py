"""Our own code unpickles and evaluates nothing, and reads YAML as plain values alone; what a run leaves holds
no pickle."""

from __future__ import annotations

import ast
import zipfile
from pathlib import Path

import pytest
from jinja2.exceptions import SecurityError

import ptspec
from ptspec.data.tokens.jinja import compiled
from ptspec.store.safetensors_only import SUFFIXES

PACKAGE = Path(ptspec.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

MODULES = {"pickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "yaml", "ruamel"}
CALLS = {"eval", "exec", "compile", "__import__", "execfile"}
LOADERS = {
    "marshal.load",
    "marshal.loads",
    "torch.load",
    "np.load",
    "numpy.load",
    "pandas.read_pickle",
    "pd.read_pickle",
    "torch.jit.load",
}
ALLOWED = {
    *(("rewards/user.py", "compile"), ("rewards/user.py", "exec")),
    *(("architecture/conversion.py", "compile"), ("architecture/conversion.py", "exec")),
}
"""The file that a recipe names, after --allow-code was looked at; and one function of the installed
transformers, which an import of it would run as well."""

YAML_READER = "starter/from_configs/yaml_file.py"
"""Reads configs of other programs for `pt init --from`, as plain values: by `safe_load` and nothing else."""
OF_YAML = {"yaml.safe_load", "yaml.YAMLError"}


def imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names |= {str(a.value) for a in node.args if isinstance(a, ast.Constant)}
    return names


def faults(file: str, source: str) -> list[str]:
    tree = ast.parse(source)
    used = {ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    of_yaml = {name for name in used if name.startswith("yaml.")}
    banned = MODULES - {"yaml"} if file == YAML_READER and of_yaml <= OF_YAML else MODULES
    found = [f"imports {name}" for name in sorted(imported(tree) & banned)]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        only_weights = any(
            k.arg == "weights_only" and isinstance(k.value, ast.Constant) and k.value.value is True
            for k in node.keywords
        )
        unsafe = any(
            k.arg in ("allow_pickle", "trust_remote_code") and getattr(k.value, "value", None) is True
            for k in node.keywords
        )
        if (
            (name in CALLS and (file, name) not in ALLOWED)
            or (name in LOADERS and not only_weights)
            or unsafe
        ):
            found.append(f"line {node.lineno}: {name}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_our_code_unpickles_and_evaluates_nothing(path):
    assert faults(path.relative_to(PACKAGE).as_posix(), path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from yaml import safe_load",
        "import_module('dill')",
        "marshal.loads(data)",
        "eval('1')",
        "exec(code)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=sure)",
        "numpy.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(path, trust_remote_code=True)",
    ],
)
def test_the_test_sees_it(source):
    assert faults("x.py", source)


def test_yaml_is_read_in_one_file_and_as_plain_values():
    assert faults(YAML_READER, "import yaml\nyaml.safe_load(text)") == []
    assert faults(YAML_READER, "import yaml\nyaml.load(text, Loader=yaml.Loader)")
    assert faults("starter/recipe.py", "import yaml\nyaml.safe_load(text)")


def test_weights_only_is_let_through():
    assert faults("x.py", "torch.load(path, weights_only=True)\nmodel.eval()\nre.compile('a')") == []


def test_transformers_loads_checkpoints_as_weights_alone():
    """Every `torch.load` of the trainer that resumes; and never the pickled training arguments."""
    import transformers.trainer

    tree = ast.parse(Path(transformers.trainer.__file__).read_text("utf-8"))
    loads = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "torch.load"]
    assert len(loads) >= 8
    for load in loads:
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in load.keywords}
        assert given.get("weights_only") == "True", f"line {load.lineno}"
        assert "TRAINING_ARGS_NAME" not in ast.unparse(load)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.popen('touch mark').read() }}",
        "{{ messages.append(1) }}",
    ],
)
def test_a_chat_template_reaches_no_python(template, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SecurityError):
        compiled(template).render(messages=[])
    assert list(tmp_path.iterdir()) == []


def is_pickle(file: Path) -> bool:
    """By its name or its first bytes: a bare pickle, or the archive that `torch.save` writes."""
    return file.suffix in SUFFIXES or file.read_bytes()[:1] == b"\x80" or zipfile.is_zipfile(file)


@pytest.mark.slow
def test_a_finished_run_holds_no_pickle_and_no_link(small_run):
    files = [path for path in small_run.output.rglob("*") if not path.is_dir()]
    assert len(files) > 40
    assert [path for path in files if is_pickle(path) or path.is_symlink()] == []
