"""Data sources: their names, several as one, and rows held out of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ptspec.starter.from_configs.draft import Draft

TRAIN, HELD_OUT = "train", "heldout"
_WHOLE = re.compile(r"\w+")


def add_sources(
    draft: Draft, sources: Sequence[Mapping[str, Any]], shares: Sequence[float] = (), kind: str = "concat"
) -> None:
    """Write the `sources` and the stage's "data": the one, or all as one.

    `kind`: "concat" with the fraction of each, or "mix" with its share.
    """
    data = draft.part("data")
    if len(sources) == 1 and (not shares or shares[0] == 1):
        data[TRAIN] = dict(sources[0])
    else:
        called = []
        for source in sources:
            called.append(_name(source, data))
            data[called[-1]] = dict(source)
        equal = kind == "concat" and all(share == 1 for share in shares)
        data[TRAIN] = {kind: list(called) if equal else dict(zip(called, shares, strict=True))}
    draft.write("/stage/data", TRAIN)


def hold_out(draft: Draft, key: str, size: Any) -> None:
    """Hold the last rows of each source out (a fraction of them), or so many of the first source.

    If they cannot be told apart, `key` is left.
    """
    number = (
        float(size) if isinstance(size, int | float | str) and str(size).replace(".", "").isdigit() else 0
    )
    if not number:
        draft.leave(key, size if size is None else False, "")
        return
    data = draft.part("data")
    rows = {
        name: source for name, source in data.items() if "path" in source and source.get("split") != "all"
    }
    chosen = rows if number < 1 else dict(list(rows.items())[:1])
    if any(not _WHOLE.fullmatch(source.get("split", "train")) for source in chosen.values()):
        draft.leave(key, size, 'no part of these splits is free: hold rows out with "split" in /data')
        return
    held = []
    for name, source in chosen.items():
        split = source.get("split", "train")
        cut = f"{100 - round(number * 100)}%" if number < 1 else f"{round(number)}"
        kept, out = (f"[:{cut}]", f"[{cut}:]") if number < 1 else (f"[{cut}:]", f"[:{cut}]")
        source["split"] = split + kept
        called = HELD_OUT if len(chosen) == 1 else f"{name}_{HELD_OUT}"
        data[called] = {**source, "split": split + out}
        held.append(called)
    if len(held) > 1:
        data[HELD_OUT] = {"concat": held}
    draft.say(key, "/data/heldout")
    draft.differs.append(
        f"held-out rows are the {'last' if number < 1 else 'first'} of "
        f"{'each set' if len(rows) > 1 and number < 1 else 'the set'}; {draft.program} draws them"
    )
    measure_on_held_out(draft)


def measure_on_held_out(draft: Draft) -> None:
    """The rows in "heldout" are what the stage is measured on, while it trains and after it."""
    draft.write("/stage/eval_data", HELD_OUT)
    draft.write("/eval/data", HELD_OUT)


def _name(source: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """A free name for `source` in `data`: the last part of its path."""
    path = source["path"] if isinstance(source["path"], str) else source["path"][0]
    last = path.rstrip("/").rpartition("/")[2].rpartition(".json")[0] or path.rstrip("/").rpartition("/")[2]
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", last).strip("_-")[:48] or "rows"
    taken, number = {*data, TRAIN, HELD_OUT}, 1
    while (called := plain if number == 1 else f"{plain}_{number}") in taken:
        number += 1
    return called
