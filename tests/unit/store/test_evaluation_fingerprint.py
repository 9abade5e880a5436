"""An evaluation is measured again where something that decides its figures has changed, and nowhere else."""

from dataclasses import replace

import pytest
from support.small import ROOT

from ptspec.recipe.by_column import ByColumn
from ptspec.recipe.plan import EvaluationSpec, LmEvalSpec, ModelSpec
from ptspec.recipe.resolve import load_plan
from ptspec.recipe.signals import JudgeSpec, RewardSpec
from ptspec.store.content_hashes import Hashes, data_commit, hub_commit
from ptspec.store.fingerprint import changes, evaluation_fingerprint

SPEC = EvaluationSpec("heldout", judge="fair")
REWARDS = {
    "short": RewardSpec("short", function="length", options={"max": 4}),
    "plain": RewardSpec("plain", function="regex", options={"pattern": "a"}),
}
JUDGES = {"fair": JudgeSpec("fair", reward="short"), "llm": JudgeSpec("llm", endpoint="http://h", model="m")}


@pytest.fixture(scope="module")
def plan():
    plan = load_plan(ROOT / "recipes/sft_dpo.json")
    return replace(plan, rewards=REWARDS, judges=JUDGES, evaluation=SPEC)


def of(plan, spec=SPEC, **changed):
    plan = replace(plan, evaluation=spec, **changed)
    return evaluation_fingerprint(plan, spec, Hashes(plan))


def with_reward(**changed):
    return {**REWARDS, "short": replace(REWARDS["short"], **changed)}


def test_the_same_is_the_same(plan):
    assert of(plan) == of(plan)
    lighter = {**REWARDS, "plain": replace(REWARDS["plain"], weight=0.5)}
    assert of(plan, rewards=lighter) == of(plan), (
        "a weight counts in training, and in what a judge makes of it"
    )
    assert of(plan, rewards=with_reward(weight=0.5)) != of(plan)
    assert of(plan, replace(SPEC, samples=2, batch_tokens=9)) == of(plan)
    assert of(plan, judges={**JUDGES, "llm": replace(JUDGES["llm"], model="n")}) == of(plan), "not asked"


SETTINGS = [
    {"data": "train"},
    {"metrics": ("loss",)},
    {"max_new_tokens": 9},
    {"sampled": 3},
    {"refusals": ("No",)},
    {"accuracy": RewardSpec("accuracy", function="exact_match")},
    {"accuracy": RewardSpec("accuracy", function="exact_match", options={"x": 1})},
    {"judge": None},
    {"judge": "llm"},
    {"cluster": "kind"},
    {"cluster": "other"},
    {"lm_eval": LmEvalSpec(("quiz",))},
    {"lm_eval": LmEvalSpec(("quiz",), limit=3)},
]


def test_each_setting_counts(plan):
    found = [of(plan), *(of(plan, replace(SPEC, **setting)) for setting in SETTINGS)]
    assert len(set(found)) == len(SETTINGS) + 1


def test_the_seed_and_what_rewards_and_judges_ask_count(plan):
    before = of(plan)
    assert of(plan, seed=plan.seed + 1) != before
    assert of(plan, rewards=with_reward(options={"max": 5})) != before
    assert of(plan, rewards={"short": REWARDS["short"]}) != before
    assert of(plan, judges={"fair": JudgeSpec("fair", reward="plain")}) != before
    asked = replace(SPEC, judge="llm")
    other = {**JUDGES, "llm": replace(JUDGES["llm"], model="n")}
    assert of(plan, asked, judges=other) != of(plan, asked)


def test_a_judge_by_a_reward_that_is_chosen_by_a_column_covers_its_parts(plan):
    by = RewardSpec("by", by=ByColumn("kind", {"a": "short", "b": "plain"}))

    def judged(short):
        return of(
            plan,
            rewards={**REWARDS, "short": short, "by": by},
            judges={"fair": JudgeSpec("fair", reward="by")},
        )

    assert judged(REWARDS["short"]) != judged(replace(REWARDS["short"], options={"max": 9}))


def test_a_users_task_files_count_by_their_contents(plan, tmp_path):
    (tmp_path / "inner").mkdir()
    spec = replace(SPEC, lm_eval=LmEvalSpec(("quiz",), include_path=str(tmp_path)))
    before = of(plan, spec)
    (tmp_path / "inner" / "quiz.yaml").write_text("task: quiz")
    one = of(plan, spec)
    (tmp_path / "inner" / "quiz.yaml").write_text("task: quiz2")
    assert len({before, one, of(plan, spec)}) == 3


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({}, {}, []),
        ({"seed": 1}, {"seed": 2}, ["seed 1 → 2"]),
        ({"format": None}, {"format": 4}, ["format changed"]),
        ({"model": "a" * 64}, {"model": "b" * 64}, ["model changed"]),
        ({"model": "a"}, {"model": "b" * 19}, [f"model a → {'b' * 19}"]),
        ({"model": "a"}, {"model": "b" * 20}, ["model changed"]),
        ({"data": ["x", 1]}, {"data": ["y", 1]}, ["data changed"]),
        (
            {"config": {"beta": 0.1, "gone": 1, "same": 2}, "seed": 1},
            {"config": {"beta": 0.2, "new": 3, "same": 2}, "seed": 3},
            ["beta 0.1 → 0.2", "gone 1 → unset", "new unset → 3", "seed 1 → 3"],
        ),
        ({"seed": 1, "config": {"b": 1}}, {"seed": 2, "config": {"b": 2}}, ["seed 1 → 2", "b 1 → 2"]),
        ({"config": None}, {"config": {"b": 2}}, ["config changed"]),
        (["damaged"], {"seed": 2}, ["seed changed"]),
    ],
)
def test_what_has_changed_in_words(before, after, words):
    assert changes(before, after) == words


def test_a_model_of_the_hub_counts_by_its_commit_else_by_its_revision(plan, monkeypatch):
    local, there = ModelSpec("/x", local=True), ModelSpec("owner/name", local=False, revision="v1")
    known = {("owner/name", "v1"): "c" * 40}
    monkeypatch.setattr("ptspec.store.content_hashes.commit", lambda *asked: known.get(asked))
    assert hub_commit(local) is None
    assert hub_commit(there) == "c" * 40
    assert hub_commit(replace(there, revision="v2")) == "v2"


def test_rows_of_the_hub_count_by_their_revision_else_by_the_commit_in_the_cache(plan, monkeypatch):
    source = replace(plan.data["train"], hub="owner/rows", paths=())
    monkeypatch.setattr(
        "ptspec.store.content_hashes.cached_commit", {"owner/rows": "d" * 40, "": "nobody"}.__getitem__
    )
    assert data_commit(source) == "d" * 40
    assert data_commit(replace(source, revision="v1")) == "v1"
    assert data_commit(replace(source, hub=None)) == "nobody"
