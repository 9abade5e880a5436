"""Every block of the guide is run, validated or named here with the reason why it cannot be.

A block is one between ``` in README.md, CONTRIBUTING.md or docs/. Commands run in a folder with a finished
run, Python is executed, parts of a recipe are put into a whole one. A block of no known kind fails.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from support.small import ROOT, pt_loaded

from ptspec.recipe.resolve import read_recipe

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCED = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
MODEL = ROOT / "data/base_model"

NOT_RUN = {
    "python3 -m venv .venv && . .venv/bin/activate": "minutes: docs/first_hour_walked.md",
    "pip install .": "the same",
    "pip wheel --no-deps -w dist .": "tests/e2e/test_wheel.py builds it",
    "pip install dist/ptspec-*.whl": "tests/e2e/test_wheel.py installs it",
    "python benchmarks/processes.py --folder outputs/processes": "an hour",
    "python benchmarks/processes.py --folder outputs/processes --strategies zero3 --methods sft dpo": "hours",
    "pip install wheel setuptools ninja hjson msgpack py-cpuinfo einops psutil pydantic": "for the next",
    "DS_BUILD_OPS=0 DS_ACCELERATOR=cpu pip install --no-deps --no-build-isolation"
    ' "deepspeed>=0.19.6,<0.20"': "compiles DeepSpeed",
    "torchrun --nproc-per-node 8 -m ptspec.cli run recipe.json": "eight GPUs",
    "torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500"
    " -m ptspec.cli run recipe.json": "two machines",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 vllm serve data/base_model --enable-lora --max-lora-rank 64"
    " --logprobs-mode processed_logprobs": "needs vLLM",
    "pt push outputs/support you/support": "a hub: tests/e2e/test_push.py has one",
}
"""Commands that are not run, and why not."""

RECORDS = {"docs/first_hour_walked.md": "what was typed once; tests/e2e/test_first_hour.py types it again"}
"""Pages whose blocks are a record of what was typed and seen."""

INSTEAD = {
    "--model Qwen/Qwen3-0.6B": f"--model {MODEL}",
    "pt run recipes/quickstart.json": (
        "pt run recipes/quickstart.json --set stages.sft.config.max_steps=2"
        " --set stages.dpo.config.max_steps=2 --set data.train.limit=16"
        " --set data.heldout.limit=4 --set eval.max_new_tokens=4"
    ),
    "--processes 64": "--processes 8",
    "--processes 16 --nodes 4": "--processes 8 --nodes 4",
    "pt export outputs/support model --adapter-only": "pt export outputs/support adapter --adapter-only",
}
"""What is typed in place of a part of a command: nothing comes from the hub, few steps are
trained, and the recipe at hand has 8 rows a step to share."""

SCREENS = {
    "README.md": ["✓ base                      accuracy   3.1"],
    "docs/eval_data.md": ["sft: eval_data: 104 rows"],
    "docs/getting_started.md": ["recipe.json: written (sft on support.csv)"],
    "docs/handover.md": ["stage  method  from  hand-over"],
    "docs/matrix.md": ["PICK dpo   dpo.4"],
    "docs/rewards.md": ["my_rewards.py:2:5: error[failing-reward]"],
    "docs/survival.md": [
        "sft: unchanged since 11:37, reused",
        "sft: finished 11:37, taken over from outputs/first/sft",
        "warning: sft: what was half made is set aside",
        "warning: sft: what was finished with other settings",
        "interrupted: SIGINT was received",
    ],
    "docs/validation.md": ["recipe.json:9:14: error[unknown-key]", "not looked at: the hub"],
}
"""How the blocks begin that show what a command told, not what to type."""


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_screen(self) -> bool:
        return any(self.text.startswith(start) for start in SCREENS.get(self.page, ()))

    @property
    def is_of_rows(self) -> bool:
        """Rows, and what trainers get of them: test_docs_data.py loads them."""
        return self.page == "docs/data.md" and "\n→" in self.text

    @property
    def value(self) -> dict | None:
        """As a recipe, or a part of one; None where it is no JSON."""
        for text in (self.text, "{" + self.text + "}"):
            try:
                value = json.loads(text)
            except ValueError:
                continue
            return value if isinstance(value, dict) else None
        return None

    @property
    def commands(self) -> list[str]:
        """What is typed: the lines after a "$ ", or all where there is none; without comments."""
        text = re.sub(r"\\\n *", " ", self.text)
        asked = re.findall(r"^\$ (.*)$", text, re.MULTILINE)
        lines = asked or ([] if self.is_screen else text.splitlines())
        bare = [re.split(r"(?:^|\s)#", line)[0].strip() for line in lines]
        return [line for line in bare if line]


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text("utf-8")
        for found in FENCED.finditer(text):
            line = text[: found.start()].count("\n") + 2
            yield Block(str(page.relative_to(ROOT)), line, found[2], found[3])


ALL = [one for one in blocks() if not one.is_of_rows and one.page not in RECORDS]
PYTHON = [one for one in ALL if one.language == "python"]
YAML = [one for one in ALL if one.language == "yaml"]
JSON = [one for one in ALL if one not in [*PYTHON, *YAML] and one.value is not None]
TYPED = [one for one in ALL if one not in [*PYTHON, *YAML, *JSON] and one.commands]


def test_every_block_is_of_a_known_kind():
    known = {*PYTHON, *YAML, *JSON, *TYPED, *(one for one in ALL if one.is_screen)}
    assert [str(one) for one in ALL if one not in known] == []
    assert len(TYPED) > 15 and len(JSON) > 15 and PYTHON


def test_nothing_is_named_that_is_on_no_page():
    typed = {line for one in TYPED for line in one.commands}
    assert set(NOT_RUN) <= typed
    assert all(any(part in line for line in typed) for part in INSTEAD)
    for page, starts in SCREENS.items():
        assert all(any(one.page == page and one.text.startswith(start) for one in ALL) for start in starts)


def test_the_recipe_of_the_readme_is_the_shipped_one_in_twelve_lines():
    (recipe,) = [one for one in JSON if one.page == "README.md"]
    assert recipe.text == (ROOT / "recipes/quickstart.json").read_text("utf-8")
    assert len(recipe.text.splitlines()) <= 12
    (end,) = [one for one in ALL if one.page == "README.md" and one.is_screen]
    assert len([line for line in end.text.splitlines() if line]) == 10
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) < 150


# --- parts of a recipe

SFT, *OTHERS = (
    {"name": "sft", "method": "sft", "data": "train"},
    {"name": "mild", "method": "dpo", "data": "train"},
    {"name": "strong", "method": "dpo", "data": "train", "from": "sft"},
)
REWARD_MODEL = {"name": "reward_model", "method": "reward", "data": "train", "from": "base"}
NEIGHBOURS = {
    "model": "someone/model",
    "data": {name: {"path": "rows.jsonl"} for name in ("train", "dev", "pairs", "heldout")},
    "rewards": {"style": {"function": "regex", "pattern": "x"}},
    "judges": {"shorter": {"reward": "style"}},
}
"""What the parts of recipes on pages speak of."""


def whole(part: dict) -> dict:
    """A recipe with `part` in its place, and with what that part names."""
    recipe = NEIGHBOURS | {"eval": {"data": "heldout", "judge": "shorter"}}
    if "method" in part:
        earlier = [
            one for one in (SFT, *OTHERS) if one["name"] in {"sft", *part.get("of", ())} - {part["name"]}
        ]
        return recipe | {"stages": [*earlier, part]}
    if "checks" in part:
        return recipe | {"stages": [SFT, OTHERS[0] | part]}
    first = SFT | {"data": next(iter(part.get("data", {})), "train")}
    judges = "judges" in part or "rewards" not in part
    made = NEIGHBOURS | {"stages": [REWARD_MODEL, first] if "judges" in part else [first]} | part
    return made if judges else made | {"judges": {}}


@pytest.mark.parametrize("block", JSON, ids=str)
def test_a_part_of_a_recipe_is_valid(block, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("rows.jsonl", "my_rewards.py", "chats/a.jsonl", "parquet_files/a.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    part = block.value
    if part is None or ("stages" in part and "model" in part):
        pytest.skip("a whole recipe: test_docs_blocks.py validates it")
    reading = read_recipe(tmp_path / "recipe.json", text=json.dumps(whole(part)))
    assert [str(error) for error in reading.errors] == []


@pytest.mark.parametrize("block", YAML, ids=str)
def test_a_hook_on_a_page_is_one_of_ours(block):
    (ours,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
    value = yaml.safe_load(block.text)
    repositories = value["repos"] if isinstance(value, dict) else value
    assert [hook["id"] for one in repositories for hook in one["hooks"]] == [ours["id"]]


# --- what is run


@pytest.fixture(scope="module")
def finished(tmp_path_factory, small_run):
    """A folder after some work: rows, a recipe, its finished run under the names that pages use."""
    folder = tmp_path_factory.mktemp("user")
    rows = (f'"How long does part {n} take?","Part {n} takes {n} days."\n' for n in range(24))
    (folder / "rows.csv").write_text("question,answer\n" + "".join(rows), "utf-8")
    shutil.copy(folder / "rows.csv", folder / "support.csv")
    shutil.copy(small_run.recipe, folder / "recipe.json")
    for name in ("recipes", "data", "schemas"):
        (folder / name).symlink_to(ROOT / name)
    for name in ("recipe", "sft_dpo", "support", "a", "b"):
        shutil.copytree(small_run.output, folder / "outputs" / name)
    zephyr = ROOT / "tests/configs/handbook/zephyr-7b-beta"
    for name in ("sft", "dpo"):
        shutil.copytree(zephyr / name, folder / name)
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of it for one block."""
    return shutil.copytree(finished, tmp_path / "user", symlinks=True)


def typed(command: str) -> str:
    for part, other in INSTEAD.items():
        command = command.replace(part, other)
    return command


RUN = [one for one in TYPED if any(line not in NOT_RUN for line in one.commands)]


@pytest.mark.slow
@pytest.mark.parametrize("block", RUN, ids=str)
def test_commands_of_a_block_work_one_after_the_other(block, folder):
    if block.commands[0].startswith("pt init"):
        (folder / "recipe.json").unlink()
        shutil.rmtree(folder / "outputs")
    if (
        any(line.startswith("pt run recipe.json") for line in block.commands)
        and (folder / "outputs").exists()
    ):
        recipe = json.loads((folder / "recipe.json").read_text("utf-8"))
        recipe["name"] = "recipe"
        (folder / "recipe.json").write_text(json.dumps(recipe), "utf-8")
    for command in block.commands:
        if command in NOT_RUN:
            continue
        words = shlex.split(typed(command))
        assert words[0] == "pt", f"{command}: name it in NOT_RUN, with the reason"
        done = pt_loaded(*words[1:], cwd=folder)
        assert done.code == 0, f"$ {command}\n{done.stdout}{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_of_a_block_runs(block, folder):
    few = '{"stages.sft.config.max_steps": 2, "stages.dpo.config.max_steps": 2, "data.train.limit": 16,'
    few += ' "data.heldout.limit": 4, "eval.max_new_tokens": 4, "stages.dpo.checks": [],'
    text = block.text.replace("overrides={", f"overrides={few} ")
    made: dict[str, object] = {}
    there = Path.cwd()
    os.chdir(folder)
    try:
        exec(compile(text, str(block), "exec"), made)
    finally:
        os.chdir(there)
    columns = {"prompts": ["?"], "completions": ["In Tarn."], "answer": ["Tarn"], "a": ["x"], "b": ["xy"]}
    for function in (value for value in made.values() if hasattr(value, "__code__")):
        wanted = function.__code__.co_varnames[: function.__code__.co_argcount]
        (value,) = function(**{name: columns[name] for name in wanted})
        assert 0 <= value <= 1
