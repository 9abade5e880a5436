"""LLaMA-Factory's data sets by name: its dataset_info.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.starter.from_configs.draft import Draft

FILE = "dataset_info.json"
DEMO = "hf://datasets/llamafactory/demo_data"
"""Where LLaMA-Factory's own demonstration files are on the hub."""
_DEMOS = ("identity", "alpaca_en_demo", "alpaca_zh_demo", "dpo_en_demo", "dpo_zh_demo", "kto_en_demo")
_OURS = {"prompt": "instruction", "query": "input", "response": "output", "kto_tag": "label"}
"""LLaMA-Factory's names for columns -> ours."""


class Known(NamedTuple):
    """The `source` of a data set, and whether its rows are chats (`turns`)."""

    source: dict[str, Any]
    turns: bool


def source_of(name: str, folder: str, draft: Draft) -> Known:
    """The data set `name`, as dataset_info.json in `folder` describes it.

    Without that file, LLaMA-Factory's own demonstration sets are those of the hub, and another name is left
    as the path.
    """
    lies = _info(folder, draft)
    described = _read(lies).get(name) if lies is not None else None
    if described is None:
        if name in _DEMOS:
            return Known({"path": f"{DEMO}/{name}.json"}, turns=False)
        why = f"no {FILE} with it is in {folder}: the source's path is the name; put the file's or a hub id"
        draft.leave("dataset", name, why)
        return Known({"path": name}, turns=False)
    turns = described.get("formatting") in ("sharegpt", "openai")
    return Known(_source(name, described, lies.parent if lies else Path(folder), draft), turns)


def _info(folder: str, draft: Draft) -> Path | None:
    """The dataset_info.json of a config: from where it is run, else beside the config or above it."""
    near = draft.file.resolve().parent
    found = (base / folder / FILE for base in (Path(), near, *near.parents))
    return next((file for file in found if file.is_file()), None)


def _read(file: Path) -> dict[str, Any]:
    try:
        read: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        told = Diagnostic("unreadable-config", f"cannot be read: {error}", Location(str(file)))
        raise InputError(told) from None
    return read


def _source(name: str, described: dict[str, Any], folder: Path, draft: Draft) -> dict[str, Any]:
    source: dict[str, Any] = {}
    if hub := described.get("hf_hub_url"):
        source = {"path": hub}
    elif file := described.get("file_name"):
        here = folder / file
        on_hub = name in _DEMOS and not here.exists()
        source = {"path": f"{DEMO}/{file}" if on_hub else _shown(here)}
    else:
        draft.leave("dataset", name, "is loaded by a script or from elsewhere: name its rows in the source")
        source = {"path": name}
    for key, ours in (("subset", "name"), ("split", "split"), ("num_samples", "limit")):
        if key in described:
            source[ours] = described[key]
    columns = {_OURS.get(key, key): column for key, column in described.get("columns", {}).items()}
    if "messages" in columns and columns["messages"] == "conversations":
        columns.pop("messages")
    if set(columns) == {"instruction"}:
        columns = {"text": columns["instruction"]}
    renamed = {key: column for key, column in columns.items() if key != column}
    return {**source, **({"columns": renamed} if renamed else {})}


def _shown(path: Path) -> str:
    """`path` from the working directory, where it lies below it."""
    whole, working = path.resolve(), Path.cwd().resolve()
    return whole.relative_to(working).as_posix() if whole.is_relative_to(working) else str(whole)
