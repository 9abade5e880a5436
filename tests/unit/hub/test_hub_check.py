"""What `pt validate` and `pt run` find of the hub, asked of a server that answers as it does."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants
from support.hub_server import COMMIT, PAIR, PAIRS

from ptspec.checks.preflight import preflight
from ptspec.data.readers import hub_rows
from ptspec.estimate.forecast import forecast
from ptspec.hub import repository
from ptspec.hub.cache import DATASET
from ptspec.recipe.resolve import load_plan
from ptspec.recipe.sources import Source
from ptspec.run.pinned import with_pinned_data
from ptspec.store.content_hashes import data_commit

BASE = Path(__file__).parents[3] / "data" / "base_model"


def jsonl(*rows: dict) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture
def look(tmp_path):
    """`preflight` of a recipe with these keys in its model and its data, for a stage of this method."""

    def look(model=None, method="dpo", starts=False, config=None, **source):
        config = {"learning_rate": 2e-5, **(config or {})}
        recipe = {
            "version": 1,
            "model": model or {"path": "someone/tiny"},
            "adapter": {"use_lora": True, "target_modules": "all-linear"},
            "data": {"train": {"path": "someone/pairs", **source}},
            "stages": [{"name": "one", "method": method, "data": "train", "config": config}],
        }
        path = tmp_path / "recipe.json"
        path.write_text(json.dumps(recipe, indent=1))
        return preflight(path, (), tmp_path / "out", starts=starts)

    return look


def told(reading):
    return [(one.code, one.pointer) for one in reading.diagnostics]


def unchecked(reading):
    return [(one.name, one.why) for one in reading.unchecked]


def test_a_sound_recipe_of_the_hub_is_valid_and_all_of_it_was_looked_at(hub, look):
    reading = look()
    assert (told(reading), unchecked(reading)) == ([], [])
    assert reading.plan.model.hub.shape.parameters == forecast(reading.plan).parameters > 900_000
    fetched = [line for line in hub.asked if "GET" in line and "model.safetensors" in line]
    assert len(fetched) == 1, "of the weights the header alone"


def test_the_shape_of_a_model_on_the_hub_is_that_of_the_same_folder(hub, look):
    from ptspec.recipe.shape import read_shape

    assert look().plan.model.hub.shape == read_shape(BASE)


def test_an_unknown_model_is_an_error_at_its_line(hub, look):
    reading = look({"path": "someone/tyni"})
    (error,) = reading.diagnostics
    assert (error.code, error.pointer, error.location.line) == ("not-on-hub", "/model/path", 4)
    assert reading.plan is None


def test_a_bare_word_that_is_near_to_a_folder_was_meant_for_it(hub, look, tmp_path, monkeypatch):
    (tmp_path / "base_model").mkdir()
    monkeypatch.chdir(tmp_path)
    (error,) = look({"path": "bas_mdle"}).diagnostics
    assert (error.code, error.hint) == ("not-on-hub", 'did you mean "base_model"?')


def test_an_unknown_dataset_of_a_later_stage_is_found_before_the_first_trains(hub, look):
    assert told(look(path="someone/piars")) == [("not-on-hub", "/data/train/path")]


@pytest.mark.parametrize("revision", ["v9", "refs/pr/1"])
def test_unknown_revisions(hub, look, revision):
    reading = look({"path": "someone/tiny", "revision": revision}, revision=revision)
    assert told(reading) == [
        ("no-such-revision", "/model/revision"),
        ("no-such-revision", "/data/train/revision"),
    ]


def test_a_commit_is_a_revision(hub, look):
    assert told(look({"path": "someone/tiny", "revision": COMMIT}, revision=COMMIT)) == []


def test_an_unknown_split_lists_those_there_are(hub, look):
    (error,) = look(split="trian[:10%]").diagnostics
    assert (error.code, error.pointer) == ("unknown-split", "/data/train/split")
    assert (error.message, error.hint) == ('"someone/pairs" has no split "trian"', 'did you mean "train"?')
    (error,) = look(split="train+held_out").diagnostics
    assert error.hint == "splits: train, test"


def test_a_dataset_without_a_train_split_is_told_at_the_source(hub, look):
    hub.datasets["someone/pairs"].splits = [("default", "train_prefs")]
    (error,) = look().diagnostics
    assert (error.code, error.pointer) == ("unknown-split", "/data/train")
    assert error.hint == 'did you mean "train_prefs"?'


def test_configurations(hub, look):
    repo = hub.datasets["someone/pairs"]
    repo.splits = [("main", "train"), ("socratic", "train")]
    (error,) = look().diagnostics
    assert (error.code, error.pointer) == ("unknown-config", "/data/train")
    assert error.hint == '"name": one of main, socratic'
    assert told(look(name="mian")) == [("unknown-config", "/data/train/name")]
    assert told(look(name="main")) == []
    hub_rows._look.cache_clear()
    repository._asked.cache_clear()
    repo.card = {
        "configs": [
            {"config_name": "main", "data_files": "a/*"},
            {"config_name": "socratic", "default": True},
        ]
    }
    assert told(look()) == []


def test_a_missing_column_and_a_bad_row_are_told_as_those_of_files(hub, look):
    hub.datasets["someone/pairs"].rows = [{"question": "Where?", "answer": "There."}]
    (error,) = look().diagnostics
    assert (error.code, error.location.file, error.location.line) == ("missing-column", "someone/pairs", 1)
    hub_rows._look.cache_clear()
    repository._asked.cache_clear()
    hub.datasets["someone/pairs"].rows = [*PAIRS[:2], {**PAIR, "rejected": None}]
    (error,) = look().diagnostics
    assert (error.code, error.location.line) == ("null-value", 3)
    assert told(look(limit=2)) == [], "the third row is never read"
    assert told(look(split="train[50%:]")) == [], "the first rows are none of this slice"


@pytest.mark.parametrize(
    ("split", "read"),
    [
        *[("train", 5), ("train[:2]", 2), ("train[0:2]+test", 2), ("train[:50%]", 2), ("train[:]", 5)],
        *[("train[2:]", 0), ("train[-3:]", 0), ("train[:-1]", 0), ("train+test[:1]", 5)],
    ],
)
def test_of_a_slice_no_rows_are_looked_at_that_are_not_read(hub, split, read):
    assert len(hub_rows.first_rows(Source("train", (), hub="someone/pairs", split=split))) == read


def test_columns_are_renamed_first(hub, look):
    hub.datasets["someone/pairs"].rows = [{"question": "Where?", "completion": "There."}]
    assert told(look(method="sft")) == [("missing-column", "/data/train")]
    assert told(look(method="sft", columns={"prompt": "question"})) == []
    (error,) = look(method="sft", columns={"prompt": "qestion"}).diagnostics
    assert (error.pointer, error.hint) == ("/data/train/columns/prompt", 'did you mean "question"?')


def test_columns_that_nothing_takes_are_told_as_those_of_files(hub, look):
    hub.datasets["someone/pairs"].rows = [
        {"prompt": "Where?", "completion": "There.", "system_prompt": "Be brief."}
    ]
    assert told(look(method="sft")) == [("unused-column", "/data/train")]
    assert told(look(method="sft", columns={"system": "system_prompt"})) == []


def test_the_columns_of_a_slice_further_down_are_looked_at(hub, look):
    hub.datasets["someone/pairs"].rows = [{"question": "Where?", "answer": "There."}]
    assert told(look(split="train[50%:]")) == [("missing-column", "/data/train")]


def test_what_is_gated_is_a_warning_and_where_a_run_starts_an_error(hub, look):
    hub.models["someone/tiny"].gated = hub.datasets["someone/pairs"].gated = True
    reading = look()
    assert told(reading) == [("no-access", "/model/path"), ("no-access", "/data/train/path")]
    assert "hf auth login" in reading.diagnostics[0].hint
    assert unchecked(reading) == [("someone/tiny", "no access"), ("someone/pairs", "no access")]
    assert reading.plan is not None
    assert look(starts=True).plan is None


def test_the_checks_of_local_models_are_made_of_those_on_the_hub(hub, look):
    reading = look(
        {"path": "someone/tiny"}, method="sft", config={"assistant_only_loss": True, "max_length": 100_000}
    )
    assert "beyond-context" in [one.code for one in reading.diagnostics]
    del hub.models["someone/tiny"].files["config.json"]
    assert told(look({"path": "someone/tiny", "revision": "main"})) == [("not-a-model", "/model/path")]


def test_modules_that_the_model_has_not(hub, look, tmp_path):
    path = tmp_path / "recipe.json"
    look()
    recipe = json.loads(path.read_text())
    recipe["adapter"]["target_modules"] = ["q_porj"]
    path.write_text(json.dumps(recipe))
    assert told(preflight(path)) == [("no-such-module", "/adapter/target_modules/0")]


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_what_the_viewer_does_not_have_is_read_from_the_files(hub, look, kind, tmp_path):
    repo = hub.datasets["someone/pairs"]
    repo.splits = None
    rows = [*PAIRS[:2], {**PAIR, "chosen": "same", "rejected": "same"}]
    repo.files = {f"data/train-00000-of-00001.{kind}": _written(kind, rows, tmp_path)}
    reading = look()
    assert unchecked(reading) == []
    (error,) = reading.diagnostics
    assert (error.code, error.location.file, error.location.line) == ("equal-pair", "someone/pairs", 3)


def _written(kind, rows, folder):
    if kind == "jsonl":
        return jsonl(*rows)
    if kind == "json":
        return json.dumps(rows).encode()
    if kind == "csv":
        names = list(rows[0])
        return "\n".join([",".join(names), *(",".join(row[name] for name in names) for row in rows)]).encode()
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "rows.parquet")
    return (folder / "rows.parquet").read_bytes()


def test_the_card_tells_the_files_of_each_split(hub, look):
    repo = hub.datasets["someone/pairs"]
    repo.splits = None
    repo.card = {
        "configs": [{"config_name": "default", "data_files": [{"split": "prefs", "path": "b/*.jsonl"}]}]
    }
    repo.files = {"a/x.jsonl": jsonl({"text": "a"}), "b/x.jsonl": jsonl(PAIR)}
    assert told(look(split="prefs")) == []
    assert told(look(split="train")) == [("unknown-split", "/data/train/split")]


def test_what_nobody_tells_is_not_looked_at_rather_than_wrong(hub, look):
    repo = hub.datasets["someone/pairs"]
    repo.splits, repo.files = None, {"train.jsonl": jsonl(PAIR)}
    why = "neither its card nor the names of its files tell its splits"
    assert unchecked(look(name="main")) == unchecked(look(split="prefs")) == [("someone/pairs", why)]
    repo.card = {"configs": [{"config_name": "main", "data_dir": "a"}]}
    assert unchecked(look(name="main", split="train[:5]")) == [("someone/pairs", why)]
    repo.files = {"notes.txt": b""}
    hub_rows._look.cache_clear()
    repository._asked.cache_clear()
    assert unchecked(look()) == [("someone/pairs", "its files are of no format known here")]


def test_no_network_names_what_was_not_looked_at(no_hub, look):
    """And is known before the time for all of it is over, of which "no answer in time" would tell."""
    reading = look()
    assert told(reading) == []
    assert unchecked(reading) == [("someone/tiny", "no network"), ("someone/pairs", "no network")]
    assert [one.location.line for one in reading.unchecked] == [4, 12]


def test_a_run_without_a_network_and_without_the_model_does_not_start(no_hub, look):
    reading = look(starts=True)
    assert told(reading) == [("hub-unreachable", "/model/path"), ("hub-unreachable", "/data/train/path")]
    assert "hf download someone/pairs --repo-type dataset" in reading.diagnostics[1].hint


def test_the_data_of_a_stage_that_is_finished_is_not_asked_for(no_hub, look, tmp_path):
    (tmp_path / "out" / "one").mkdir(parents=True)
    (tmp_path / "out" / "one" / "stage.json").write_text("{}")
    assert told(look(starts=True)) == [("hub-unreachable", "/model/path")]


def test_a_server_that_does_not_answer_in_time(hub, look, monkeypatch):
    monkeypatch.setattr("ptspec.checks.hub.BUDGET", 1.0)
    hub.answers.clear()
    reading = look()
    assert unchecked(reading) == [
        ("someone/tiny", "no answer in time"),
        ("someone/pairs", "no answer in time"),
    ]
    assert reading.plan is not None


def test_a_word_that_is_near_to_a_folder_is_told_without_a_network_too(no_hub, look, tmp_path, monkeypatch):
    (tmp_path / "base_model").mkdir()
    monkeypatch.chdir(tmp_path)
    (warning,) = look({"path": "bas_mdle"}).diagnostics
    assert (warning.code, warning.hint) == ("taken-for-hub", 'did you mean "base_model"?')


def cache_model(home, weights=True):
    folder = home / "hub" / "models--someone--tiny"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    shutil.copytree(BASE, folder / "snapshots" / COMMIT)
    if not weights:
        (folder / "snapshots" / COMMIT / "model.safetensors").unlink()


def cache_rows(home, rows, folder):
    """What `datasets` leaves in its cache after a load of someone/pairs."""
    import datasets

    made = datasets.Dataset.from_list(rows)
    place = home / "datasets" / "someone___pairs" / "default" / "0.0.0" / COMMIT
    place.mkdir(parents=True)
    made.save_to_disk(str(folder / "saved"))
    shutil.copy(next((folder / "saved").glob("*.arrow")), place / "pairs-train.arrow")
    info = {"config_name": "default", "splits": {"train": {"name": "train", "num_examples": len(rows)}}}
    (place / "dataset_info.json").write_text(json.dumps(info))


def test_offline_the_caches_are_looked_at(hub_environment, look, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    cache_model(hub_environment)
    cache_rows(hub_environment, [PAIR, {**PAIR, "rejected": None}], tmp_path)
    reading = look(starts=True)
    (error,) = reading.diagnostics
    assert (error.code, error.location.file, error.location.line) == ("null-value", "someone/pairs", 2)
    assert unchecked(reading) == []
    assert told(look(split="tset")) == [("unknown-split", "/data/train/split")]
    cache_rows(hub_environment / "other", [PAIR], tmp_path / "other")
    monkeypatch.setattr(constants, "HF_HOME", str(hub_environment / "other"))
    hub_rows._look.cache_clear()
    repository._asked.cache_clear()
    assert forecast(look().plan).parameters > 900_000


def test_offline_without_a_cache(hub_environment, look, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    why = "offline: HF_HUB_OFFLINE"
    assert unchecked(look()) == [("someone/tiny", why), ("someone/pairs", why)]


def test_offline_for_datasets_alone(hub, look, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    assert unchecked(look()) == [("someone/pairs", "offline: HF_DATASETS_OFFLINE")]


def test_a_cached_revision_is_not_another(hub_environment, look, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    cache_rows(hub_environment, [PAIR], tmp_path)
    assert [name for name, _ in unchecked(look(revision="v2"))] == ["someone/tiny", "someone/pairs"]
    assert [name for name, _ in unchecked(look(revision=COMMIT))] == ["someone/tiny"]


def test_a_cache_without_the_weights_serves_the_checks_but_not_a_run(no_hub, hub_environment, look):
    cache_model(hub_environment, weights=False)
    reading = look()
    assert reading.plan.model.hub.folder.name == COMMIT
    assert ("someone/tiny", "no network") in unchecked(reading)
    assert "hub-unreachable" in [one.code for one in look(starts=True).diagnostics]


def test_looking_leaves_the_cached_main_as_it_was(hub, hub_environment, look):
    cache_model(hub_environment, weights=False)
    refs = hub_environment / "hub" / "models--someone--tiny" / "refs" / "main"
    refs.write_text("f" * 40)
    look()
    assert refs.read_text() == "f" * 40


def test_the_first_rows_are_there_for_others(hub):
    source = Source("train", (), hub="someone/pairs", columns={"question": "prompt"}, limit=2)
    rows = hub_rows.first_rows(source)
    assert [(str(row.file), row.line, row.values["question"]) for row in rows] == [
        ("someone/pairs", 1, PAIRS[0]["prompt"]),
        ("someone/pairs", 2, PAIRS[1]["prompt"]),
    ]


def test_rows_of_the_viewer_with_shortened_cells_are_left_out(hub, monkeypatch):
    from ptspec.hub import viewer

    answer = {
        "features": [{"name": "a"}],
        "rows": [{"row": {"a": 1}, "truncated_cells": []}, {"row": {"a": "x"}, "truncated_cells": ["a"]}],
    }
    monkeypatch.setattr(viewer, "_ask", lambda *_, **__: answer)
    assert viewer.first_rows("a/b", COMMIT, "default", "train").rows == ({"a": 1},)


@pytest.mark.parametrize(
    ("text", "names"),
    [("train", ["train"]), ("train[:10%]+test", ["train", "test"]), ("train_prefs[5:]", ["train_prefs"])],
)
def test_names_of_splits(text, names):
    assert hub_rows.split_names(text) == names


def test_a_repository_is_asked_for_once_in_a_minute(hub, monkeypatch):
    now = time.monotonic() // 60 * 60
    # Its own clock alone: of the module's, sockets and threads would stand still too.
    monkeypatch.setattr(repository, "time", SimpleNamespace(monotonic=lambda: now))

    def asked() -> int:
        assert repository.look("someone/pairs", None, DATASET).commit == COMMIT
        return sum("/api/datasets/someone/pairs" in request for request in hub.asked)

    assert (asked(), asked()) == (1, 1), "a run that starts takes the commit that its checks were told"
    now += 60
    assert asked() == 2


def test_a_plan_names_the_commit_that_a_run_takes_of_a_branch(hub):
    rows = Source("rows", (), hub="someone/pairs", revision="main", at="/data/rows")
    plan = replace(load_plan(BASE.parents[1] / "recipes/sft.json"), data={"rows": rows})
    asked = len(hub.asked)
    made = with_pinned_data(plan)
    assert made.data["rows"].revision == data_commit(made.data["rows"]) == COMMIT
    asked, before = len(hub.asked), asked
    assert asked > before and with_pinned_data(made) == made and len(hub.asked) == asked
