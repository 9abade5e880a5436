"""An evaluation as files in a stage's folder, written atomically.

Three files: the aggregates for people and checks, a few responses side by side for reading, and every row for
later paired comparison. Imports neither torch nor numpy.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.evaluation.measurement import (
    DataStamp,
    JudgeStamp,
    Measurement,
    RowMeasurement,
    Settings,
    with_shares,
)
from ptspec.events import Figure
from ptspec.store.files import whole_file, write_json

STATS = "evaluation_stats.json"
SAMPLES = "sample_responses.json"
ROWS = "evaluation_rows.jsonl"
DOCUMENTS = "lm_eval_documents.json"
FORMAT = 1
LARGEST = 2**63
"""Upper bound of counts; a larger number would not fit a float either."""
LATER = frozenset(
    (
        *("slices", "refused", "sample", "sample_tokens", "sample_correct", "sample_rewards", "kl", "judged"),
        *("kl_base", "conversational", "refusals", "reference_fingerprint", "tokenizer"),
        *("cluster", "method", "accuracy", "accuracy_why", "is_share"),
        "generated_by",
    )
)
"""Fields missing in early files of this format: None, not measured."""

VERSIONS = ("ptspec", "torch", "transformers", "trl", "peft")

T = TypeVar("T")


def write(
    folder: Path, measurement: Measurement, *, samples: int, previous: Sequence[Measurement] = ()
) -> None:
    """Write the files to `folder`, the aggregates last, so that they mark it as complete.

    A fourth file if tasks of lm-evaluation-harness were measured. The sample responses hold the first
    `samples` rows, with the responses of the models in `previous`.
    """
    with whole_file(folder / ROWS) as file:
        for row in measurement.rows:
            file.write(json.dumps(_clean(asdict(row)), ensure_ascii=False) + "\n")
    write_json(folder / SAMPLES, _clean(_samples(measurement, samples, previous)))
    (folder / DOCUMENTS).unlink(missing_ok=True)
    if measurement.documents:
        write_json(folder / DOCUMENTS, {"format": FORMAT, "scores": measurement.documents})
    write_json(folder / STATS, _clean(_stats(measurement)))


def _stats(measurement: Measurement) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "name": measurement.name,
        "metrics": {name: asdict(figure) for name, figure in measurement.metrics.items()},
        "settings": asdict(measurement.settings),
        "data": None if measurement.data is None else asdict(measurement.data),
        "rows": len(measurement.rows),
        "judge": None if measurement.judge is None else asdict(measurement.judge),
        "seconds": measurement.seconds,
        "fingerprint": measurement.fingerprint,
        "versions": {name: found for name in VERSIONS if (found := _version(name))},
    }


def _samples(measurement: Measurement, count: int, previous: Sequence[Measurement]) -> dict[str, Any]:
    earlier = {other.name: other.by_id() for other in previous}
    return {
        "format": FORMAT,
        "name": measurement.name,
        "samples": [
            {
                "prompt": row.prompt,
                "expected": row.expected,
                "answer": row.answer,
                "response": row.response,
                "correct": row.correct,
                "sampled": row.sample,
                "rewards": row.rewards,
                "previous": {name: rows[row.id].response for name, rows in earlier.items() if row.id in rows},
            }
            for row in measurement.rows[:count]
        ],
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _clean(value: Any) -> Any:
    """Return `value` with lone surrogates, which are not UTF-8, as "?"."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, Mapping):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value


def load_measurement(folder: Path) -> Measurement:
    """Return the measurement that `write` wrote to `folder`.

    Raises `InputError` if it is missing, damaged, or of another version's format.
    """
    path = folder / STATS
    stats = _object(path, _read(path), None)
    if (found := stats.get("format")) != FORMAT:
        raise _fault(path, None, f"an evaluation of format {found!r}; this program knows {FORMAT}", AGAIN)
    rows = _load_rows(folder / ROWS)
    if len(rows) != stats.get("rows"):
        raise _fault(
            folder / ROWS, None, f"has {len(rows)} rows where {STATS} says {stats.get('rows')}", AGAIN
        )
    metrics = _object(path, stats.get("metrics"), None)
    data, judge = stats.get("data"), stats.get("judge")
    return Measurement(
        name=_checked(path, stats.get("name"), str),
        rows=rows,
        metrics=with_shares({n: _build(Figure, figure, path, None) for n, figure in metrics.items()}, rows),
        settings=_build(Settings, stats.get("settings"), path, None),
        data=None if data is None else _build(DataStamp, data, path, None),
        seconds=_checked(path, stats.get("seconds"), float),
        fingerprint=stats.get("fingerprint"),
        judge=None if judge is None else _build(JudgeStamp, judge, path, None),
        documents=_load_documents(folder / DOCUMENTS, metrics),
    )


AGAIN = "measure again: pt eval on this folder"


def _load_documents(path: Path, metrics: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return the documents' scores in `path`, of measured metrics; {} without the file."""
    if not path.is_file():
        return {}
    scores = _object(path, _object(path, _read(path), None).get("scores"), None)
    if not all(_fits(of_documents, dict[str, float]) for of_documents in scores.values()):
        raise _fault(path, None, "damaged: a score is not a number", AGAIN)
    return {name: of_documents for name, of_documents in scores.items() if name in metrics}


def _load_rows(path: Path) -> tuple[RowMeasurement, ...]:
    lines = _read_text(path).removesuffix("\n").split("\n")  # splitlines() would split at U+2028 in a text
    return tuple(
        _build(RowMeasurement, _parse(path, line, number), path, number)
        for number, line in enumerate(lines, start=1)
    )


def _read(path: Path) -> Any:
    return _parse(path, _read_text(path), None)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        hint = "pt eval measures a stage folder; a recipe's eval section measures every stage"
        raise _fault(path, None, f"no evaluation in {path.parent}: there is no {path.name}", hint) from error
    except (OSError, UnicodeDecodeError) as error:
        raise _fault(path, None, f"cannot be read: {error}", AGAIN) from error


def _parse(path: Path, text: str, line: int | None) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        where = line or getattr(error, "lineno", None)
        raise _fault(path, where, f"damaged: {error}", AGAIN) from error


def _object(path: Path, value: Any, line: int | None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _fault(path, line, "damaged: an object is missing", AGAIN)
    return value


def _build(kind: type[T], value: Any, path: Path, line: int | None) -> T:
    """Return the dataclass `kind` of a JSON object with typed fields; those of `LATER` may be missing."""
    dataclass: Any = kind  # types are hashable, which mypy does not know
    given, hints = _object(path, value, line), _hints(dataclass)
    if strange := (set(given) - set(hints)) | (set(hints) - set(given) - LATER):
        odd = ", ".join(sorted(strange))
        raise _fault(path, line, f"damaged, or of another version: {odd}", AGAIN)
    plain = _plain_types(dataclass)
    wrong = next((n for n, v in given.items() if type(v) not in plain[n] and not _fits(v, hints[n])), None)
    if wrong:
        raise _fault(path, line, f"damaged: {wrong} is {json.dumps(given[wrong])[:60]}", AGAIN)
    return kind(**given)


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Return the type hints of a dataclass, cached: they are used for every row."""
    return get_type_hints(kind)


@cache
def _plain_types(kind: type) -> dict[str, frozenset[type]]:
    """Return by field the types that need no further check."""
    return {
        name: frozenset({str, float, bool, NoneType} & set(get_args(hint) or (hint,)))
        for name, hint in _hints(kind).items()
    }


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a JSON value has the annotated type; integers are floats too, booleans are not."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, choice) for choice in get_args(hint))
    if origin is not None:
        return isinstance(value, dict) and all(_fits(item, get_args(hint)[1]) for item in value.values())
    if isinstance(value, int) and abs(value) > LARGEST:
        return False
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def _checked(path: Path, value: Any, kind: type[T]) -> T:
    if not _fits(value, kind) or (isinstance(value, float) and not math.isfinite(value)):
        raise _fault(path, None, "damaged: a name or a number is missing", AGAIN)
    result: T = value
    return result


def _fault(path: Path, line: int | None, message: str, hint: str) -> InputError:
    return InputError(Diagnostic("evaluation-files", message, Location(str(path), line), hint=hint))
