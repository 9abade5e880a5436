"""Keys and passwords: refused in a recipe, redacted in what is said and kept."""

from __future__ import annotations

import json
import time

import pytest
from support.small import ROOT, write_recipe

from ptspec import cli
from ptspec.diagnostics import Diagnostic
from ptspec.report.diagnostics import Format, render
from ptspec.secrets import redacted, redacted_source, secret_in

HUB = "hf_" + "a1B2" * 9
KEYS = [HUB, "sk-proj-0123456789abcdefghij", "ghp_" + "x" * 36, "AKIA" + "A1" * 8, "xoxb-1234567890-abc"]


@pytest.mark.parametrize("key", KEYS)
def test_keys_are_known_by_their_form(key):
    assert secret_in(f"see {key}.")
    assert redacted(f"see {key}.") == f"see {'*' * len(key)}."


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("http://me:pass@host/v1", "http://*******@host/v1"),
        ("https://token@host", "https://*****@host"),
        ("ssh://git@host/x", "ssh://git@host/x"),
        ("mail@host, https://host/@me, a://b/c@d", "mail@host, https://host/@me, a://b/c@d"),
    ],
)
def test_users_and_passwords_in_addresses(text, safe):
    assert redacted(text) == safe
    assert (secret_in(text) is not None) == (text != safe)


@pytest.mark.parametrize("text", ["https://" + "a" * 100_000, "token" * 50_000, "token" + " " * 100_000])
def test_looking_for_secrets_takes_linear_time(text):
    """What a model wrote goes through here. Two overlapping stars took minutes over such texts."""
    start = time.process_time()
    redacted_source(text)
    secret_in(text)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ('"hub_token": "abc", "max_new_tokens": 48', '"hub_token": "***", "max_new_tokens": 48'),
        ("pt run r.json --set judges.j.api_key=abc", "pt run r.json --set judges.j.api_key=***"),
        ('"api_key_env": "OPENAI_API_KEY"', '"api_key_env": "OPENAI_API_KEY"'),
        ('"api_key_env": "abc def"', '"api_key_env": "*******"'),
        ('"pad_token": "<pad>", "token": {"a": 1}', '"pad_token": "<pad>", "token": {"a": 1}'),
        ("http://h/v1?key=abc&x=1", "http://h/v1?key=*******"),
        ('"password": "cut off', '"password": "*******'),
    ],
)
def test_values_of_keys_that_are_called_like_secrets(text, safe):
    assert redacted_source(text) == safe


def test_values_of_the_environment(monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "swordfish-and-more")
    monkeypatch.setenv("SHORT_TOKEN", "true")
    monkeypatch.setenv("HARMLESS", "plain-old-value")
    told = redacted("true: swordfish-and-more, plain-old-value")
    assert told == f"true: {'*' * 18}, plain-old-value"


def test_a_fault_of_a_function_shows_no_value_of_the_environment(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "open/sesame+please")
    fault = Diagnostic(
        "failing-reward", "cannot log in with open/sesame+please", notes=("open/sesame+please",)
    )
    for format in Format:
        assert "sesame" not in render([fault], format)


CANARY = "canary-7f3a9"


@pytest.mark.parametrize("format", ["text", "json", "github"])
@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("model", {"path": f"https://me:{CANARY}@host/model"}),
        ("description", f"sk-{CANARY}-0123456789"),
        ("judges", {"j": {"endpoint": f"http://me:{CANARY}@host", "model": "m"}}),
        ("judges", {"j": {"endpoint": "http://host", "model": "m", "api_key": CANARY}}),
        ("judges", {"j": {"endpoint": "http://host", "model": "m", "api_key_env": f"sk {CANARY}"}}),
        ("judges", {"j": {"endpoint": "http://host", "model": "m", "headers": f"Authorization: {CANARY}"}}),
        ("hub_token", CANARY),
        ("api_key", [CANARY]),
        ("password", 7),
    ],
)
def test_no_fault_shows_a_secret(tmp_path, capsys, format, section, value):
    def change(recipe: dict) -> None:
        recipe[section] = value

    with pytest.raises(SystemExit) as ended:
        cli.main(["validate", str(write_recipe(tmp_path, change)), "--format", format])
    told = capsys.readouterr()
    assert ended.value.code == 2
    assert CANARY not in told.out + told.err


def test_no_fault_of_a_stage_or_of_set_shows_a_secret(tmp_path, capsys):
    def change(recipe: dict) -> None:
        recipe["stages"][0]["config"]["hub_token"] = CANARY

    recipe = str(write_recipe(tmp_path, change))
    for path in ("stages.sft.config.hub_token", "judges.j.api_key", "stages.dpo.config.api_token"):
        with pytest.raises(SystemExit):
            cli.main(["validate", recipe, "--set", f"{path}={CANARY}"])
        told = capsys.readouterr()
        assert CANARY not in told.out + told.err


def test_what_holds_a_secret_is_told_at_its_place(tmp_path, capsys):
    def change(recipe: dict) -> None:
        recipe["description"] = f"log in with {HUB}"

    file = write_recipe(tmp_path, change)
    with pytest.raises(SystemExit):
        cli.main(["validate", str(file), "--format", "json"])
    (fault,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (fault["code"], fault["pointer"]) == ("secret-in-recipe", "/description")


def test_the_shipped_recipes_hold_none(capsys):
    for file in sorted((ROOT / "recipes").glob("*.json")):
        assert secret_in(file.read_text()) is None
