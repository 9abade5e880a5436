"""A run's files, damaged in any way: every command that reads them says what is wrong, none breaks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptspec.checks.manifest import read_again
from ptspec.diagnostics import PtError
from ptspec.evaluation.request import held_out, make_request, stored_measurement
from ptspec.evaluation.targets import last_of_each, targets
from ptspec.model import probes
from ptspec.report.html.write import write_run_report
from ptspec.store.rerun import differences, open_run
from ptspec.store.reuse import reuses
from ptspec.store.verify import verify

pytestmark = pytest.mark.slow

FILES = (
    *("manifest.json", "events.jsonl", "sft/stage.json", "dpo/stage.json", "sft/metrics.jsonl"),
    *("base/evaluation_stats.json", "dpo/evaluation_stats.json", "dpo/evaluation_rows.jsonl"),
    *("dpo/sample_responses.json", "dpo/adapter_config.json", "dpo/probes.json"),
)
JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**20), 10**20),
        st.floats(),
        st.sampled_from(["", "..", "/", "a\0b", "\ud800", "x" * 5000, "sft", "base", "outputs/../..", "1"]),
        st.text(max_size=20),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def run(small_run, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("damaged") / "out"
    shutil.copytree(small_run.output, output, ignore=shutil.ignore_patterns("*.png", "checkpoints"))
    return output


def places(value: object, here: tuple = ()) -> list[tuple]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(place for key, item in inner for place in places(item, (*here, key)))]


def changed(value: object, place: tuple, new: object, delete: bool) -> object:
    if not place:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    if delete and len(place) == 1:
        del copy[place[0]]
    else:
        copy[place[0]] = changed(copy[place[0]], place[1:], new, delete)
    return copy


@st.composite
def damage(draw) -> tuple[str, object]:
    """A file, and what becomes of its bytes."""
    file = draw(st.sampled_from(FILES))
    kind = draw(st.sampled_from(["value", "value", "value", "delete", "cut", "flip", "bytes", "gone"]))
    if kind in ("value", "delete"):
        where, new = draw(st.floats(0, 1, exclude_max=True)), draw(JSON)

        def in_json(data: bytes) -> bytes:
            lines = data.decode().splitlines() if file.endswith("l") else [data.decode()]
            line = int(where * len(lines))
            value = json.loads(lines[line])
            found = places(value)
            lines[line] = json.dumps(changed(value, found[int(where * len(found))], new, kind == "delete"))
            return "\n".join(lines).encode("utf-8", "surrogatepass")

        return file, in_json
    at, garbage = draw(st.floats(0, 1, exclude_max=True)), draw(st.binary(max_size=40))
    by_bytes = {
        "cut": lambda data: data[: int(at * len(data))],
        "flip": lambda data: data[: int(at * len(data))] + b"\xff" + data[int(at * len(data)) + 1 :],
        "bytes": lambda data: garbage,
        "gone": lambda data: None,
    }
    return file, by_bytes[kind]


def again(run: Path) -> None:
    kept = open_run(run / "manifest.json")
    if kept is None:
        return
    plan = read_again(kept, None).plan
    if plan is not None:
        reuses(plan)
        differences(kept, plan, "cpu")


def evaluation(run: Path) -> None:
    for target in targets([str(run)]):
        stored_measurement(target)


COMMANDS = {
    "verify": verify,
    "report": write_run_report,
    "run": again,
    "eval": evaluation,
    "eval --data": lambda run: held_out(run.parent / "rows.jsonl", None, None, targets([str(run)])[-1]),
    "eval --compare": lambda run: make_request([f"{run}/sft", f"{run}/dpo"], None, True, None, None),
    "export, chat": lambda run: last_of_each([str(run)]),
    "hand-over": lambda run: probes.load(run / "dpo"),
}


@given(damage())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_reported_or_forgiven(run, damaged):
    name, spoil = damaged
    file = run / name
    (run.parent / "rows.jsonl").touch()
    whole = file.read_bytes()
    spoilt = spoil(whole)
    try:
        if spoilt is None:
            file.unlink()
        else:
            file.write_bytes(spoilt)
        for command, does in COMMANDS.items():
            try:
                does(run)
            except PtError as error:
                assert error.diagnostics, command
    finally:
        file.write_bytes(whole)
