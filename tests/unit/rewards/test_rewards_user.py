"""The user's functions: found, looked at without being run, run only when allowed."""

import subprocess
import sys
import textwrap

import pytest

from ptspec.diagnostics import InputError
from ptspec.recipe.paths import Places
from ptspec.rewards.contract import Kind
from ptspec.rewards.source import check_user_function
from ptspec.rewards.user import load_user_function


@pytest.fixture
def write(tmp_path):
    def write(text, name="mine.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return path

    return write


def fault(path, name, kind=Kind.REWARD):
    return check_user_function(f"{path}:{name}", kind, "/rewards/r")


def refused(path, name="f", kind=Kind.REWARD, allow_code=True):
    with pytest.raises(InputError) as error:
        load_user_function(f"{path}:{name}", kind, allow_code=allow_code, at="/rewards/r")
    (diagnostic,) = error.value.diagnostics
    return diagnostic


REWARDS_THAT_DO = [
    "def f(prompts, completions, **columns): ...",
    "def f(completions, **kwargs): ...",
    "def f(completions): ...",
    "def f(prompts, completions, answer, trainer_state=None): ...",
    "def f(*, completions, answer): ...",
    "def f(**anything): ...",
    "async def f(completions, **columns): ...",
]
REWARDS_THAT_DO_NOT = [
    ("def f(prompt, completion): ...", 'it takes no "completions"'),
    ("def f(): ...", 'it takes no "completions"'),
    ("def f(*texts): ...", 'it takes no "completions"'),
    ("def f(prompts, completions, /): ...", '"prompts" cannot be given by name'),
    ("class f: ...", "it is a class, not a function"),
]
JUDGES_THAT_DO = ["def f(prompts, a, b): ...", "def f(prompts, a, b, strict=True): ...", "def f(*texts): ..."]
JUDGES_THAT_DO_NOT = [
    "def f(prompts, a): ...",
    "def f(prompts, a, b, c): ...",
    "def f(*, prompts, a, b): ...",
]


@pytest.mark.parametrize("text", REWARDS_THAT_DO)
def test_signatures_of_rewards_that_will_do(write, text):
    path = write(text)
    assert fault(path, "f") is None
    assert load_user_function(f"{path}:f", Kind.REWARD, allow_code=True, at="").__name__ == "f"


@pytest.mark.parametrize(("text", "why"), REWARDS_THAT_DO_NOT)
def test_a_wrong_signature_is_reported_with_the_line_and_the_wanted_one_run_or_not(write, text, why):
    path = write(f"import math\n\n{text}\n")
    for found in (fault(path, "f"), refused(path)):
        assert found.code == "wrong-signature"
        assert found.message == f'"f" cannot be a reward: {why}'
        assert found.hint == "its signature is reward(prompts, completions, **columns) -> list[float | None]"
        assert found.location.file == str(path)
    assert fault(path, "f").location.line == 3
    assert fault(path, "f").location.text == text


@pytest.mark.parametrize("text", JUDGES_THAT_DO)
def test_signatures_of_judges_that_will_do(write, text):
    path = write(text)
    assert fault(path, "f", Kind.JUDGE) is None
    load_user_function(f"{path}:f", Kind.JUDGE, allow_code=True, at="")


@pytest.mark.parametrize("text", JUDGES_THAT_DO_NOT)
def test_signatures_of_judges_that_will_not(write, text):
    path = write(text)
    for found in (fault(path, "f", Kind.JUDGE), refused(path, kind=Kind.JUDGE)):
        assert found.code == "wrong-signature"
        assert found.hint == "its signature is judge(prompts, a, b) -> list[float]"


def test_checking_runs_nothing_and_loads_no_torch(write):
    path = write("raise SystemExit('ran')\ndef f(completions): ...")
    assert fault(path, "f") is None
    code = (
        "import sys; from ptspec.rewards.contract import Kind; from ptspec.rewards.check import *;"
        f"assert check_user_function({f'{path}:f'!r}, Kind.REWARD, '') is None;"
        "assert not {'torch', 'transformers', 'trl', 'httpx', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_bound_in_any_way_is_found(write):
    path = write(
        """
        import json as f1
        from math import *
        f2: object = print
        f3, (f4, f5) = 1, (2, 3)
        try:
            from fast import f6
        except ImportError:
            def f6(completions): ...
        if True:
            def f7(prompt): ...
        """
    )
    assert [fault(path, f"f{n}") for n in range(1, 7)] == [None] * 6
    assert fault(path, "f7").location.line == 11
    assert fault(path, "from_the_star_import") is None


def test_a_name_bound_in_a_block_is_found_and_one_of_an_inner_scope_is_not(write):
    path = write(
        """
        with open(__file__) as f1:
            for f2, *f3 in []:
                def f4(completions): ...
        match 1:
            case 1:
                def f5(completions): ...
        if (f6 := print) and [no1 for no1 in ()]:
            no2: object
        class C:
            def no3(completions): ...
        def f7(completions):
            no4 = lambda no5: no5
        """
    )
    assert [fault(path, f"f{n}") for n in range(1, 8)] == [None] * 7
    assert [fault(path, f"no{n}").code for n in range(1, 6)] == ["no-such-function"] * 5


def test_one_of_two_definitions_is_not_judged_before_it_is_known_which(write):
    path = write("try:\n    from fast import f\nexcept ImportError:\n    def f(prompt): ...")
    assert fault(path, "f") is None


def test_a_module_that_answers_for_any_name_is_left_to_the_run(write):
    path = write("def __getattr__(name):\n    return lambda completions: [0.0]")
    assert fault(path, "f") is None
    assert load_user_function(f"{path}:f", Kind.REWARD, allow_code=True, at="")([]) == [0.0]


def test_what_is_not_there_is_reported_with_the_nearest(write, tmp_path):
    path = write("def brevity(completions): ...")
    assert fault(path, "brevty").hint == 'did you mean "brevity"?'
    assert refused(path, "brevty").code == "no-such-function"
    assert fault(tmp_path / "mein.py", "f").hint.startswith("did you mean")
    assert refused(tmp_path / "mein.py").code == "no-such-file"


def test_relative_paths_count_from_the_working_directory_then_from_the_recipe(tmp_path):
    for folder in ("work", "recipe"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "both.py").write_text(f"def {folder}(completions): ...")
    (tmp_path / "recipe" / "one.py").write_text("def f(completions): ...")
    places = Places(tmp_path / "work", tmp_path / "recipe")
    assert check_user_function("both.py:work", Kind.REWARD, "", places) is None
    assert check_user_function("both.py:recipe", Kind.REWARD, "", places).code == "no-such-function"
    load_user_function("one.py:f", Kind.REWARD, allow_code=True, at="", places=places)


def test_nothing_runs_without_leave(write, tmp_path):
    path = write(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef f(completions): ...")
    told = refused(path, allow_code=False)
    assert told.code == "code-not-allowed"
    assert "mine.py" in told.message
    assert "--allow-code" in told.hint
    assert told.pointer == "/rewards/r/function"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("x = 1\ndef g():\n    return 1 / 0\ng()\n", 3, "ZeroDivisionError: division by zero"),
        ("x = 1\nimport no_such_module_at_all\n", 2, "ModuleNotFoundError"),
        ("import sys\nsys.exit(3)\n", 2, "SystemExit: 3"),
        ("import json\njson.loads('{')\n", 2, "JSONDecodeError"),
    ],
)
def test_a_file_that_fails_is_reported_at_its_own_line(write, text, line, message):
    path = write(text)
    told = refused(path)
    assert (told.code, told.location.file, told.location.line) == ("failing-import", str(path), line)
    assert message in told.message
    assert told.location.text == text.splitlines()[line - 1]


def test_a_file_that_is_not_python(write):
    path = write("def f(completions:\n")
    for told in (fault(path, "f"), refused(path)):
        assert (told.code, told.location.line) == ("not-python", 1)
    (path.parent / "bytes.py").write_bytes(b"\xff\x00")
    assert fault(path.parent / "bytes.py", "f").code == "not-python"
    assert refused(path.parent / "bytes.py").code == "not-python"


def test_a_file_is_run_once_and_again_when_it_has_changed(write):
    path = write(
        """
        calls = []
        def f(completions):
            calls.append(1)
        def g(completions):
            return calls
        """
    )
    f, g = (load_user_function(f"{path}:{n}", Kind.REWARD, allow_code=True, at="") for n in "fg")
    f([])
    assert g([]) == [1]
    path.write_text("def f(completions): return 2")
    assert load_user_function(f"{path}:f", Kind.REWARD, allow_code=True, at="")([]) == 2


def test_a_file_may_import_what_lies_beside_it_and_keeps_its_own_language_rules(write):
    write("def half(x): return x / 2", "beside_the_rewards.py")
    path = write("from beside_the_rewards import half\ndef f(completions: list) -> list: return [half(1)]")
    function = load_user_function(f"{path}:f", Kind.REWARD, allow_code=True, at="")
    assert function([]) == [0.5]
    assert function.__annotations__["completions"] is list
